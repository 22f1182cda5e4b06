"""Measure a bundle on labelled images: the way of `Segmenter`, then metrics on the images' own grid."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from torch import nn

from monai_dis.bundle.weights import weights_digest
from monai_dis.data import LoadLabeld, read_dataset
from monai_dis.data.output_folder import prepare_folder
from monai_dis.engines.case_pictures import CasePictures
from monai_dis.engines.rows import Row, errors_into, raise_failures, summarise
from monai_dis.engines.score_arms import score_arms, share_of_oracle
from monai_dis.engines.tables import write_csv, write_json
from monai_dis.errors import DataError, OutputError
from monai_dis.inferers import Budget, IterativeInferer
from monai_dis.inferers.grid import spacing_mm_of
from monai_dis.metrics import compare_paired, overlapping_metrics, segmentation_metrics
from monai_dis.pipeline.device import pick_device
from monai_dis.pipeline.modes import make_runner, run_budget
from monai_dis.pipeline.predict import Prediction, Predictor

__all__ = ["Evaluation"]

logger = logging.getLogger(__name__)

PAIRED = ("dice", "surface_dice", "hd95")
COSTS = (
    "windows_refined",
    "windows_total",
    "operations",
    "fraction_of_full_pass",
    "fraction_of_sliding_window",
    "seconds",
)


class Evaluation:
    """What ``monai-dis evaluate`` and a bundle's ``evaluate`` config run.

    One *arm* is one way of segmenting all images: the mode and budget given, or one arm for each of ``budgets``.

    Args:
        network: a `TwoStageNet`, or any network for both stages; with its weights.
        inferer: levels, windows, scores and merging.
        preprocessing: as for `Segmenter`.
        postprocessing: as for `Segmenter`.
        data: folder of a data set, or a list of mappings with ``image`` and ``label`` (files) and perhaps ``name``.
        output_dir: folder for ``metrics.csv``, ``metrics.json``, ``report.html`` with ``pictures`` and, with ``budgets``,
            ``curve.png``; made when missing.
        dataset_name: layout of the folder, such as ``"ph2"`` or ``"folder"``.
        split: ``"val"``, ``"train"`` or ``"all"``.
        mode: ``"dis"``, ``"sliding-window"`` or ``"coarse"``.
        windows: budget, see `Budget`.
        coverage: budget.
        operations: budget.
        budgets: shares of one full pass, or ``"auto"``; each is an arm of its own, for the mode ``"dis"`` only.
        scores: names among `monai_dis.engines.score_arms.COMPARED`, each at every one of ``budgets``; beside them stands the
            coarse answer, and with the oracle the share of its gain in Dice that each score captures.
        overlap: share of a window that its neighbour covers.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or a device.
        label_names: names of the classes by index.
        label_map: the class of each number in the label files, see `monai_dis.data.label_values`.
        label_geometry: what is done about a label that lies elsewhere than its image: ``"reject"``, or ``"warn"`` to take its
            voxels for the image's.
        tolerance: of the surface Dice, in millimetres; in pixels for pictures, which have no spacing.
        image_key: key of the image in the transforms.
        pred_key: key of the answer in the transforms.
        on_image: called after each image with how many are done, of how many, and the row.

    Raises:
        DisError: one of its subclasses, when an argument cannot be used.
    """

    def __init__(
        self,
        network: nn.Module,
        inferer: IterativeInferer,
        preprocessing: Compose,
        postprocessing: Compose,
        data: str | Path | Iterable[Mapping[str, Any]],
        output_dir: str | Path,
        *,
        dataset_name: str = "folder",
        split: str = "val",
        mode: str = "dis",
        windows: int | None = None,
        coverage: float | None = None,
        operations: float | str | None = None,
        budgets: Sequence[float | str] | None = None,
        scores: Sequence[str] | None = None,
        overlap: float | None = None,
        device: str | torch.device = "auto",
        label_names: Mapping[int | str, str] | None = None,
        label_map: Mapping[Any, Any] | None = None,
        label_geometry: str = "reject",
        tolerance: float = 2.0,
        image_key: str = "image",
        pred_key: str = "pred",
        on_image: Callable[[int, int, Row], None] | None = None,
    ) -> None:
        self.device = pick_device(device)
        self.network = network.to(self.device).eval()
        self.cases = self._cases(data, dataset_name, split)
        self.output_dir = Path(output_dir)
        self.label_names = {int(index): name for index, name in (label_names or {}).items()}
        self.tolerance = tolerance
        self.on_image = on_image
        self._labels = LoadLabeld("label", label_map=label_map, geometry=label_geometry)
        self.settings = {
            "mode": mode, "dataset": dataset_name, "split": split, "weights": weights_digest(self.network),
            "label_map": dict(label_map or {}), "label_geometry": label_geometry,
        }  # fmt: skip
        own = run_budget(inferer, mode, windows=windows, coverage=coverage, operations=operations)
        if (budgets or scores) and mode != "dis":
            raise DataError(f"budgets make no sense for the mode {mode}; leave them out, or use the mode dis.")
        if scores and not budgets:
            raise DataError("scores are compared at budgets; give budgets too, such as 0.05, 0.1 and 0.2.")
        arms: dict[str, tuple[nn.Module, IterativeInferer, Budget]] = {mode: (self.network, inferer, own)}
        if budgets:
            pairs = {"dis": (self.network, inferer)}
            if scores:
                pairs = score_arms(self.network, inferer, scores, self._truth_of)
            arms = {"coarse": (self.network, inferer, Budget(windows=0))} if scores else {}
            arms |= {
                f"{name} {share if share == 'auto' else format(share, 'g')}": (*pair, Budget.of_share(share))
                for name, pair in pairs.items()
                for share in budgets
            }
        self.scores = tuple(scores or ())
        self.arms = {
            name: Predictor(
                make_runner(pair, how, mode, budget, overlap),
                self.network, preprocessing, postprocessing, self.device, image_key=image_key, pred_key=pred_key,
            )
            for name, (pair, how, budget) in arms.items()
        }  # fmt: skip

    def run(self) -> dict[str, Any]:
        """Evaluate all arms on all images.

        Returns:
            the content of ``metrics.json``.

        Raises:
            ImageError: at the end, when images failed.
            OutputError: when the output folder cannot be written.
        """
        folder = prepare_folder(self.output_dir)
        names = list(self.arms)
        self._pictures = CasePictures(folder, names[0], names[-1])
        rows: list[Row] = []
        total = len(self.cases) * len(self.arms)
        for name, predictor in self.arms.items():
            for case in self.cases:
                row = self._row(name, predictor, case)
                rows.append(row)
                if self.on_image is not None:
                    self.on_image(len(rows), total, row)
                else:
                    logger.info("%d of %d, %s, %s", len(rows), total, name, row["name"])
        results = self._results(rows)
        self._write(folder, rows, results)
        raise_failures(rows)
        return results

    @staticmethod
    def _cases(
        data: str | Path | Iterable[Mapping[str, Any]], dataset_name: str, split: str
    ) -> list[Mapping[str, Any]]:
        if isinstance(data, (str, Path)):
            cases: list[Mapping[str, Any]] = [
                case for case in read_dataset(dataset_name, data).datalist(split) if "label" in case
            ]
        else:
            cases = [{str(key): value for key, value in case.items()} for case in data]
        if not cases:
            raise DataError(f"there is nothing to evaluate in {data} (split {split}); give another folder or split.")
        return cases

    def _truth_of(self, file: str) -> MetaTensor:
        """The label of an image's file, for the oracle."""
        case = next(case for case in self.cases if str(case["image"]) == file)
        label: MetaTensor = self._labels(dict(case.items()))["label"]
        return label

    def _row(self, arm: str, predictor: Predictor, case: Mapping[str, Any]) -> Row:
        name = str(case.get("name", Path(str(case["image"])).name))
        row: Row = {"arm": arm, "name": name, "image": str(case["image"])}
        with errors_into(row, name):
            prediction = predictor(Path(str(case["image"])))
            known = self._labels.for_classes(prediction.num_classes)
            label = torch.as_tensor(known({**dict(case.items()), "image": prediction.image})["label"])
            row.update(self._metrics(prediction, label, name))
            self._pictures.see(arm, name, prediction, label)
            figures = prediction.statistics
            row.update({key: figures[key] for key in COSTS if key in figures and key != "seconds"})
            row["seconds"] = round(sum(prediction.watch.seconds.values()), 6)
            row.update({f"seconds_{stage}": round(value, 6) for stage, value in prediction.watch.seconds.items()})
        return row

    def _metrics(self, prediction: Prediction, label: torch.Tensor, name: str) -> dict[str, float]:
        size = prediction.labels.shape[1:]
        spacing = spacing_mm_of(prediction.image[None], len(size))
        if label.shape[0] > 1:
            found = prediction.class_masks()
            if len(found) != len(label):
                raise DataError(
                    f"the label of {name} has masks of {len(label)} classes, the bundle knows {len(found)}; "
                    "name the bundle's classes or choose another bundle."
                )
            return overlapping_metrics(found, label, spacing=spacing, tolerance=self.tolerance)
        if prediction.labels.shape[0] > 1:
            masks = label == torch.arange(1, prediction.num_classes).reshape(-1, *[1] * len(size))
            return overlapping_metrics(prediction.class_masks(), masks, spacing=spacing, tolerance=self.tolerance)
        return segmentation_metrics(
            prediction.label_map(), label[0], prediction.num_classes, spacing=spacing, tolerance=self.tolerance
        )

    def _results(self, rows: Sequence[Row]) -> dict[str, Any]:
        arms = []
        for name in self.arms:
            own = [row for row in rows if row["arm"] == name and not row.get("error")]
            keys = [
                key
                for row in own[:1]
                for key, value in row.items()
                if isinstance(value, (int, float)) and not isinstance(value, bool)
            ]
            arms.append(
                {
                    "name": name,
                    "images": len(own),
                    "summary": {key: summarise([row[key] for row in own]) for key in keys},
                }
            )
        self._compare(arms)
        self._pair(arms, rows)
        names = {str(index): name for index, name in self.label_names.items()}
        return {"settings": self.settings, "label_names": names, "arms": arms, "rows": list(rows)}

    def _pair(self, arms: Sequence[dict[str, Any]], rows: Sequence[Row]) -> None:
        """Compare each arm with the first, image by image."""
        values = {(row["arm"], row["name"]): row for row in rows if not row.get("error")}
        first = arms[0]["name"]
        for arm in arms[1:]:
            both = [n for a, n in values if a == first and (arm["name"], n) in values]
            if both:
                sides = [[values[name, n] for n in both] for name in (first, arm["name"])]
                measures = {m: asdict(compare_paired(*[[r[m] for r in side] for side in sides])) for m in PAIRED}
                arm["against"] = {"arm": first, "measures": measures}

    def _compare(self, arms: Sequence[dict[str, Any]]) -> None:
        """Say of each score's arm which share of the oracle's gain in Dice it captures at its budget."""
        dice = {arm["name"]: arm["summary"]["dice"]["mean"] for arm in arms if arm["images"]}
        for arm in arms:
            oracle = dice.get(f"oracle {arm['name'].rpartition(' ')[2]}")
            if "oracle" in self.scores and arm["name"] in dice and oracle is not None and "coarse" in dice:
                arm["share_of_oracle_gain"] = share_of_oracle(dice[arm["name"]], dice["coarse"], oracle)

    def _write(self, folder: Path, rows: Sequence[Row], results: Mapping[str, Any]) -> None:
        from monai_dis.reports.evaluation_page import write_evaluation_page

        try:
            write_csv(folder / "metrics.csv", rows)
            write_json(folder / "metrics.json", results)
            if len(self.arms) > 1:
                self._draw(folder / "curve.png", results)
            write_evaluation_page(results, folder, self._pictures.written)
        except OSError as error:
            raise OutputError(f"the results cannot be written to {folder} ({error.strerror or error}).") from error

    def _draw(self, path: Path, results: Mapping[str, Any]) -> None:
        from monai_dis.reports.curves import Curve, draw_curves

        curves = []
        for score in self.scores or ("dis",):
            points = [
                arm["summary"]
                for arm in results["arms"]
                if arm["images"] and (arm["name"] == "coarse" or arm["name"].rpartition(" ")[0] == score)
            ]
            costs = [point["fraction_of_full_pass"]["mean"] for point in points]
            dice = [point["dice"]["mean"] for point in points]
            curves.append(Curve("deep iterative segmentation" if score == "dis" else score, costs, dice))
        draw_curves(curves, path)
