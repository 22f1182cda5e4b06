"""Which image teaches most: the expected gain of refinement of every image, from one coarse pass each, kept from run to run."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_dis.data.atomic import atomic_path
from monai_dis.errors import DisError
from monai_dis.inferers import Budget
from monai_dis.inferers.gain import Scorer
from monai_dis.inferers.stages import stages_of
from monai_dis.label.cases import file_stamp
from monai_dis.pipeline.model import Model
from monai_dis.pipeline.modes import make_runner
from monai_dis.pipeline.predict import Predictor, Stopwatch

__all__ = ["ScoreBook", "expected_gain", "next_image", "score_images"]

#: The book is written so often, so that a killed run loses little.
_WRITTEN_EVERY = 20


def expected_gain(model: Model, path: Path) -> float:
    """What refinement, or a reader, is expected to gain on an image: by the network's own scorer where it has one.

    The sum over the image: mean of the expected gain times the number of voxels, as a share of the voxels that the coarse answer calls
    foreground, so that a small organ counts as a large one does. Without a scorer the uncertainty (entropy) takes its place.

    Args:
        model: of the bundle.
        path: of the image.

    Raises:
        DisError: when the image cannot be read.
    """
    device = next(model.network.parameters()).device
    runner = make_runner(model.network, model.inferer, "coarse", Budget(windows=0))
    predictor = Predictor(runner, model.network, model.predictor.preprocessing, model.predictor.postprocessing, device)
    batch = predictor.prepare(path, None, Stopwatch(device)).batch
    with torch.inference_mode():
        result = runner.inferer.run(batch, model.network)
        mosaic = result.mosaic
        scorer = _scorer(model)
        if scorer is None:
            gain = mosaic.uncertainty(size=mosaic.grid_size(0), level=0)
        else:
            gain = Scorer(scorer, 1)(batch, mosaic.coarse, device)
        found = _foreground(mosaic.coarse, mosaic.activation)
        # An empty answer is as doubtful as a tenth of the image.
        area = max(float(found.float().sum()), 0.1 * found.numel())
        return float(gain.clamp(min=0).sum()) / area


@dataclass(frozen=True)
class ScoreBook:
    """Scores by image, on disk.

    Attributes:
        file: JSON.
    """

    file: Path

    def read(self) -> dict[str, dict[str, Any]]:
        """By image: ``score`` (None where the image cannot be scored), ``stamp`` of its file, ``weights``."""
        try:
            return dict(json.loads(self.file.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def write(self, scores: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace all scores at once."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.file) as temporary:
            temporary.write_text(json.dumps(scores) + "\n", encoding="utf-8")


def score_images(
    book: ScoreBook,
    images: Iterable[tuple[str, Callable[[], Path]]],
    score: Callable[[Path], float],
    weights: str,
    on_image: Callable[[int, int, int], None] | None = None,
) -> dict[str, int]:
    """Score the images that have no score yet, or whose file or weights changed.

    Args:
        book: where scores are kept.
        images: ids, and what gives the file of each.
        score: of a file.
        weights: what tells two networks apart.
        on_image: called with how many are scored, how many of them just now, of how many.

    Returns:
        ``scored`` just now, ``kept`` and ``failed``.
    """
    known, every = book.read(), list(images)
    scores: dict[str, dict[str, Any]] = {}
    counts = {"scored": 0, "kept": 0, "failed": 0}
    for number, (name, path_of) in enumerate(every, start=1):
        old = known.get(name)
        try:
            path = path_of()
            stamp = list(file_stamp(path))[1:]
            if old is not None and old["stamp"] == stamp and old["weights"] == weights:
                scores[name] = old
                counts["kept"] += 1
            else:
                scores[name] = {"score": score(path), "stamp": stamp, "weights": weights}
                counts["scored"] += 1
        except (DisError, OSError):
            scores[name] = {"score": None, "stamp": None, "weights": weights}
            counts["failed"] += 1
        if on_image is not None:
            on_image(number, counts["scored"], len(every))
        if counts["scored"] % _WRITTEN_EVERY == _WRITTEN_EVERY - 1:
            # What is not looked at yet keeps its score.
            book.write({**known, **scores})
    book.write(scores)
    return counts


def next_image(scores: Mapping[str, Mapping[str, Any]], candidates: Collection[str]) -> str | None:
    """The candidate with the highest score; one without a score comes after all that have one, and ties go by name."""
    ranked = sorted(candidates, key=lambda name: (-(_value(scores.get(name))), name))
    return ranked[0] if ranked else None


def _value(entry: Mapping[str, Any] | None) -> float:
    score = None if entry is None else entry.get("score")
    return -1.0 if score is None else float(score)


def _scorer(model: Model) -> Any:
    levels = model.inferer.settings.levels
    return next((scorer for scorer in stages_of(model.network, levels).scorers if scorer is not None), None)


def _foreground(logits: Tensor, activation: str) -> Tensor:
    if activation == "softmax":
        return logits.max(dim=1, keepdim=True).indices > 0
    return (logits > 0).any(dim=1, keepdim=True)
