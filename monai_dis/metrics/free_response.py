"""Free-response curves: lesions found against false alarms per image, from probability maps.

``C`` overlapping classes, ``*spatial`` two or three axes, ``N`` thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from monai.metrics import compute_fp_tp_probs_nd, compute_froc_score
from numpy.typing import NDArray

from monai_dis.metrics.channels import plain_channels
from monai_dis.metrics.lesions import label_lesions

__all__ = ["FreeResponse", "FreeResponseCurve"]


@dataclass(frozen=True)
class FreeResponseCurve:
    """Sensitivity against false positives of one class, from no candidate at all to all of them.

    Attributes:
        thresholds: (N,) falling, infinity first; candidates of this score or more count.
        false_positives_per_image: (N,) rising from 0; nan without images.
        sensitivity: (N,) share of the lesions that were found, rising from 0; nan where there are none.
    """

    thresholds: NDArray[np.float32]
    false_positives_per_image: NDArray[np.float64]
    sensitivity: NDArray[np.float64]

    def at(self, false_positives_per_image: float) -> float:
        """Sensitivity at this many false positives per image.

        Between two thresholds it is interpolated, as in MONAI's ``compute_froc_score``; beyond the last candidate it
        stays what it was.
        """
        points = self.false_positives_per_image[::-1], self.sensitivity[::-1]
        return float(compute_froc_score(*points, (false_positives_per_image,)))


class FreeResponse:
    """Collect candidates image by image: connected pixels of some probability, scored by the largest.

    A candidate finds the lesion in which its likeliest pixel lies (MONAI's ``compute_fp_tp_probs_nd``, the rule of the
    CAMELYON16 challenge), and is a false positive where that lies in none. Of two candidates that find one lesion
    neither is false; one candidate that covers several lesions finds one of them only.

    Args:
        classes: number of classes.
        threshold: probability from which on pixels form candidates; low, since a curve ends there, but not so low that
            neighbouring lesions grow together.

    Raises:
        ValueError: when an argument is out of range.

    Example:
        >>> measure = FreeResponse(1)
        >>> measure.add(torch.tensor([[[0.9, 0.0, 0.4, 0.5]]]), torch.tensor([[[0, 0, 1, 1]]]))
        >>> measure.curve(0).at(1), measure.curve(0).false_positives_per_image.tolist()
        (1.0, [0.0, 1.0, 1.0])
    """

    def __init__(self, classes: int, *, threshold: float = 0.1) -> None:
        if classes < 1:
            raise ValueError(f"there must be 1 class at least, not {classes}.")
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold is a probability above 0, not {threshold}.")
        self.threshold = threshold
        self._images = 0
        self._false: tuple[list[NDArray[np.float32]], ...] = tuple([] for _ in range(classes))
        self._found: tuple[list[NDArray[np.float32]], ...] = tuple([] for _ in range(classes))

    def add(self, probabilities: torch.Tensor, truth: torch.Tensor) -> None:
        """Collect the candidates of one image.

        Args:
            probabilities: ``(C, *spatial)``, 0 to 1.
            truth: ``(C, *spatial)``, not zero where the class is.

        Raises:
            ValueError: when the shapes do not fit.
        """
        probabilities, truth = plain_channels(probabilities, truth, len(self._false))
        self._images += 1
        for index, (values, mask) in enumerate(zip(probabilities, truth, strict=True)):
            scores, places = _candidates(np.asarray(values.float().cpu()), self.threshold)
            lesions, _ = label_lesions(np.asarray(mask.cpu()) != 0)
            # The score of a lesion that nobody found is 0.
            false, found, _ = compute_fp_tp_probs_nd(scores, places, lesions)
            self._false[index].append(np.asarray(false))
            self._found[index].append(np.asarray(found))

    def curve(self, index: int) -> FreeResponseCurve:
        """Curve of a class, counted from 0."""
        # MONAI's `compute_froc_curve_data` leaves out the lowest threshold where all lesions are found.
        none = [np.zeros(0, np.float32)]
        false, found = (np.sort(np.concatenate(part[index] or none)) for part in (self._false, self._found))
        scores = np.unique(np.concatenate([false, found]))
        thresholds = np.append(scores[scores > 0], np.float32(np.inf))[::-1]
        called, hit = (len(part) - np.searchsorted(part, thresholds) for part in (false, found))
        with np.errstate(invalid="ignore"):
            return FreeResponseCurve(thresholds, called / np.float64(self._images), hit / np.float64(len(found)))


def _candidates(probabilities: NDArray[np.float32], threshold: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Score of each candidate and the place of its likeliest pixel, the first in the order of the array."""
    mask = probabilities >= threshold
    labels, _ = label_lesions(mask)
    values, owners = probabilities[mask], labels[mask]
    order = np.lexsort((-values, owners))
    _, first = np.unique(owners[order], return_index=True)
    best = order[first]
    places = np.stack(np.unravel_index(np.flatnonzero(mask)[best], mask.shape), axis=1)
    return values[best], places
