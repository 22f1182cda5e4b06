"""Measure ways of finding lesions on labelled images: pixels, lesions and false alarms, of classes that may overlap.

Letters in shapes: ``C`` classes, without a background; ``*spatial`` the axes of the image's file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import nan
from pathlib import Path
from typing import Any

import torch

from monai_dis.data import LoadLabeld
from monai_dis.engines.output_folder import prepare_folder
from monai_dis.engines.prediction import Predictor
from monai_dis.engines.rows import Row, errors_into, raise_failures, summarise
from monai_dis.engines.tables import write_csv, write_json
from monai_dis.errors import DataError, OutputError
from monai_dis.metrics import FreeResponse, LesionScores, PooledDice, PrecisionRecall, mean_metrics

__all__ = ["FALSE_POSITIVES", "LesionEvaluation", "Way", "way_of"]

logger = logging.getLogger(__name__)

#: A way of finding lesions: from a case to probabilities ``(C, *spatial)`` on the grid of its image's file, and
#: statistics with ``operations`` and ``seconds`` (a number, or numbers by stage).
Way = Callable[[Mapping[str, Any]], tuple[torch.Tensor, Mapping[str, Any]]]

#: False positives per image at which the sensitivity is given.
FALSE_POSITIVES = (1, 2, 4, 8)

_FALSE_POSITIVES_SHOWN = (0.1, 100.0)


def way_of(predictor: Predictor) -> Way:
    """A way of finding lesions from a bundle's parts.

    Args:
        predictor: its postprocessing ends at probabilities, as a bundle's ``probabilities`` do.
    """

    def way(case: Mapping[str, Any]) -> tuple[torch.Tensor, Mapping[str, Any]]:
        prediction = predictor(Path(str(case["image"])))
        cost = {"operations": prediction.statistics["operations"], "seconds": prediction.watch.seconds}
        return prediction.labels, cost

    return way


class LesionEvaluation:
    """Compare ways of finding lesions on the same cases, and write tables and curves.

    Every case is read once, and no probability map is kept. ``lesions.csv`` has a row for each way and class, and one
    for the mean of the classes: average precision over all pixels of all images, pooled Dice and the mean Dice of the
    images, recall by size, precision and false positives of lesions, sensitivity at 1, 2, 4 and 8 false positives per
    image, mean operations and median seconds. ``lesions.json`` has that and the cases; ``froc.png`` and
    ``precision_recall.png`` are the curves.

    Args:
        ways: what to compare, by name.
        cases: mappings with ``image``, ``label`` and perhaps ``name`` and ``rule``, as from
            :meth:`monai_dis.data.Dataset.datalist`; a label has a mask for each class.
        output_dir: folder of the results; made when missing.
        class_names: names of the classes in the order of the label's masks.
        threshold: probability from which on a pixel is called, for Dice and lesions.
        overlap: see :func:`monai_dis.metrics.match_lesions`.
        edges: sizes in pixels that part the ranges, see :class:`monai_dis.metrics.LesionScores`.
        candidates: probability from which on pixels form candidates, see :class:`monai_dis.metrics.FreeResponse`.
        on_image: called after each image and way with how many are done, of how many, and the row.

    Raises:
        DataError: when there is nothing to compare.
    """

    def __init__(
        self,
        ways: Mapping[str, Way],
        cases: Sequence[Mapping[str, Any]],
        output_dir: str | Path,
        class_names: Sequence[str],
        *,
        threshold: float = 0.5,
        overlap: float = 0.0,
        edges: Sequence[int] = (64, 256, 1024, 4096),
        candidates: float = 0.1,
        on_image: Callable[[int, int, Row], None] | None = None,
    ) -> None:
        if not (ways and cases and class_names):
            raise DataError("there is nothing to evaluate: give one way, one labelled case and one class at least.")
        self.ways = dict(ways)
        self.cases = list(cases)
        self.output_dir = Path(output_dir)
        self.class_names = tuple(class_names)
        self.threshold = threshold
        self.on_image = on_image
        self.settings = {
            "classes": list(class_names),
            "threshold": threshold,
            "overlap": overlap,
            "edges": list(edges),
            "candidates": candidates,
        }
        count = len(self.class_names)
        self._measures = {
            name: _Measures(
                PrecisionRecall(count),
                PooledDice(count),
                LesionScores(count, overlap=overlap, edges=edges),
                FreeResponse(count, threshold=candidates),
            )
            for name in ways
        }
        self._read_label = LoadLabeld(keys="label")

    def run(self) -> dict[str, Any]:
        """Evaluate all ways on all cases.

        Returns:
            the content of ``lesions.json``.

        Raises:
            ImageError: at the end, when cases failed; a way is measured on the cases that it did not fail on.
            OutputError: when the output folder cannot be written.
        """
        folder = prepare_folder(self.output_dir)
        rows: list[Row] = []
        total = len(self.cases) * len(self.ways)
        for way in self.ways:
            for case in self.cases:
                row = self._row(way, case)
                rows.append(row)
                if self.on_image is not None:
                    self.on_image(len(rows), total, row)
                else:
                    logger.info("%d of %d, %s, %s", len(rows), total, way, row["name"])
        results = self._results(rows)
        self._write(folder, results)
        raise_failures(rows)
        return results

    def _row(self, way: str, case: Mapping[str, Any]) -> Row:
        name = str(case.get("name", Path(str(case["image"])).name))
        row: Row = {"way": way, "name": name}
        with errors_into(row, name):
            probabilities, statistics = self.ways[way](case)
            truth = torch.as_tensor(self._read_label(dict(case.items()))["label"])
            if len(truth) != len(self.class_names):
                raise DataError(
                    f"the label of {name} has {len(truth)} masks, one is needed for each of "
                    f"{', '.join(self.class_names)}; name its classes."
                )
            dice = self._measures[way].add(torch.as_tensor(probabilities).cpu(), truth, self.threshold)
            row |= {f"dice {label}": value for label, value in zip(self.class_names, dice, strict=True)}
            row |= {"operations": statistics["operations"], "seconds": _total(statistics["seconds"])}
        return row

    def _results(self, rows: Sequence[Row]) -> dict[str, Any]:
        ways = []
        for way, measures in self._measures.items():
            own = [row for row in rows if row["way"] == way and "error" not in row]
            classes = {label: measures.figures(index) for index, label in enumerate(self.class_names)}
            counted = [{key: v for key, v in row.items() if not key.startswith("lesions")} for row in classes.values()]
            ways.append(
                {
                    "name": way,
                    "images": len(own),
                    "operations": summarise([row["operations"] for row in own]),
                    "seconds": summarise([row["seconds"] for row in own]),
                    "mean": mean_metrics(counted),
                    "classes": classes,
                }
            )
        return {"settings": self.settings, "ways": ways, "rows": list(rows)}

    def _write(self, folder: Path, results: Mapping[str, Any]) -> None:
        table = [
            {
                "way": way["name"],
                "class": label,
                "images": way["images"],
                **figures,
                "operations": way["operations"]["mean"],
                "seconds": way["seconds"]["median"],
            }
            for way in results["ways"]
            for label, figures in {**way["classes"], "mean": way["mean"]}.items()
        ]
        try:
            write_csv(folder / "lesions.csv", table)
            write_json(folder / "lesions.json", results)
            self._draw(folder)
        except OSError as error:
            raise OutputError(f"the results cannot be written to {folder} ({error.strerror or error}).") from error

    def _draw(self, folder: Path) -> None:
        from monai_dis.reports.curves import Curve, draw_panels

        response: dict[str, list[Curve]] = {label: [] for label in self.class_names}
        precision: dict[str, list[Curve]] = {label: [] for label in self.class_names}
        for way, measures in self._measures.items():
            for index, label in enumerate(self.class_names):
                free, pixels = measures.response.curve(index), measures.pixels.curve(index)
                false, found = free.false_positives_per_image.tolist(), free.sensitivity.tolist()
                response[label].append(Curve(f"{way} ({free.at(1):.2f} at 1)", false, found, "plain"))
                recall, share = pixels.recall.tolist(), pixels.precision.tolist()
                precision[label].append(Curve(f"{way} ({pixels.area:.3f})", recall, share, "plain"))
        draw_panels(
            response,
            folder / "froc.png",
            x_label="false positives per image",
            y_label="share of the lesions found",
            x_limits=_FALSE_POSITIVES_SHOWN,
            log_x=True,
        )
        draw_panels(
            precision, folder / "precision_recall.png", x_label="recall (area under the curve)", y_label="precision"
        )


@dataclass(frozen=True)
class _Measures:
    """What is summed up over the images of one way."""

    pixels: PrecisionRecall
    dice: PooledDice
    lesions: LesionScores
    response: FreeResponse

    def add(self, probabilities: torch.Tensor, truth: torch.Tensor, threshold: float) -> list[float]:
        """Count one image and return its Dice by class."""
        # The first refuses what does not fit, before anything is counted.
        self.pixels.add(probabilities, truth)
        called = probabilities >= threshold
        self.dice.add(called, truth)
        self.lesions.add(called, truth)
        self.response.add(probabilities, truth)
        return [float(value) for value in self.dice.per_image()[-1]]

    def figures(self, index: int) -> dict[str, float]:
        """Everything about a class, counted from 0."""
        lesions, curve, images = self.lesions.score(index), self.response.curve(index), self.dice.per_image()
        sizes = _ranges(self.lesions.edges)
        return {
            "average_precision": self.pixels.area(index),
            "pooled_dice": float(self.dice.pooled()[index]) if len(images) else nan,
            "mean_dice": float(images[:, index].mean()),
            "lesion_recall": lesions.recall,
            "lesion_precision": lesions.precision,
            "false_positives_per_image": lesions.false_positives_per_image,
            **{f"sensitivity_at_{rate}": curve.at(rate) for rate in FALSE_POSITIVES},
            **{f"recall_{size}": share for size, share in zip(sizes, lesions.recall_by_size, strict=True)},
            "lesions": lesions.lesions,
            **{f"lesions_{size}": number for size, number in zip(sizes, lesions.lesions_by_size, strict=True)},
        }


def _ranges(edges: Sequence[int]) -> list[str]:
    """Names of the ranges of sizes.

    Example:
        >>> _ranges((64, 256))
        ['below_64', '64_to_255', 'from_256']
    """
    if not edges:
        return ["any_size"]
    between = [f"{low}_to_{high - 1}" for low, high in pairwise(edges)]
    return [f"below_{edges[0]}", *between, f"from_{edges[-1]}"]


def _total(seconds: float | Mapping[str, float]) -> float:
    return float(sum(seconds.values()) if isinstance(seconds, Mapping) else seconds)
