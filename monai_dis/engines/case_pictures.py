"""Pictures of an evaluation's first cases: the first arm's answer and the last one's beside the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_dis.data.atomic import atomic_path
from monai_dis.pipeline.predict import Prediction

__all__ = ["CasePictures"]

_MOST = 8  # cases; more would make the report too heavy to open


class CasePictures:
    """Writes ``pictures/<name>.png`` once both answers to a case are there.

    Args:
        folder: of the evaluation.
        first: name of the first arm.
        last: name of the last arm, perhaps the same.
    """

    def __init__(self, folder: Path, first: str, last: str) -> None:
        self.folder, self.first, self.last = folder / "pictures", first, last
        self.written: dict[str, Path] = {}
        self._answers: dict[str, NDArray[np.generic]] = {}

    def see(self, arm: str, name: str, prediction: Prediction, label: Tensor) -> None:
        """Take note of an answer.

        Args:
            arm: of the answer.
            name: of the case.
            prediction: the answer.
            label: the truth, class indices ``(1, *spatial)`` or a mask for each overlapping class ``(C, *spatial)``.
        """
        if arm == self.first and len(self._answers) < _MOST:
            self._answers[name] = prediction.label_map().numpy()
        if arm == self.last and name in self._answers:
            self._draw(name, prediction, label)

    def _draw(self, name: str, prediction: Prediction, label: Tensor) -> None:
        from monai_dis.reports.comparison import comparison_picture

        answers = {self.first: self._answers[name], self.last: prediction.label_map().numpy()}
        picture = comparison_picture(
            np.asarray(prediction.image),
            _indices(label),
            answers,
            prediction.boxes,
            np.asarray(prediction.image.affine),
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{Path(name).name}.png"
        with atomic_path(path) as temporary:
            picture.save(temporary, format="PNG", compress_level=3)
        self.written[name] = path


def _indices(label: Tensor) -> NDArray[np.generic]:
    """Class indices of masks; where they overlap, the one with the lower index is seen."""
    if label.shape[0] == 1:
        return np.asarray(label[0])
    there = label > 0
    return np.asarray((there.to(torch.uint8).argmax(0) + 1) * there.any(0))
