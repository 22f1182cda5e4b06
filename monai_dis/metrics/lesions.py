"""Lesions found and missed: connected components of the truth against those of the prediction.

Pixels that touch at a side or a corner belong together: 8 neighbours in 2D, 26 in 3D. ``C`` overlapping classes,
``*spatial`` two or three axes, ``T`` lesions of the truth, ``P`` of the prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from monai_dis.metrics.channels import plain_channels

__all__ = ["LesionMatch", "LesionScore", "LesionScores", "label_lesions", "match_lesions"]


@dataclass(frozen=True)
class LesionMatch:
    """Lesions of one class in one image.

    Attributes:
        sizes: (T,) pixels of each lesion of the truth.
        found: (T,) whether the prediction found it.
        correct: (P,) whether a predicted lesion is one.
    """

    sizes: NDArray[np.int64]
    found: NDArray[np.bool_]
    correct: NDArray[np.bool_]


@dataclass(frozen=True)
class LesionScore:
    """Lesions of one class in a set of images.

    Attributes:
        lesions: number of lesions of the truth.
        predicted: number of predicted lesions.
        recall: share of the lesions that were found; nan where there are none.
        precision: share of the predicted lesions that are ones; nan where nothing was predicted.
        false_positives_per_image: predicted lesions that are none, per image; nan without images.
        lesions_by_size: number of lesions in each range of sizes.
        recall_by_size: share of them that were found.
    """

    lesions: int
    predicted: int
    recall: float
    precision: float
    false_positives_per_image: float
    lesions_by_size: tuple[int, ...]
    recall_by_size: tuple[float, ...]


class LesionScores:
    """Match lesions image by image (:func:`match_lesions`) and sum up over the set.

    Args:
        classes: number of classes.
        overlap: see :func:`match_lesions`.
        edges: rising sizes in pixels that part the ranges: below the first, from each to the next, from the last on.

    Raises:
        ValueError: when an argument is out of range.

    Example:
        >>> scores = LesionScores(1, edges=(2,))
        >>> scores.add(torch.tensor([[[1, 0, 1, 0, 0]]]), torch.tensor([[[1, 1, 0, 0, 1]]]))
        >>> score = scores.score(0)
        >>> score.recall, score.recall_by_size, score.precision, score.false_positives_per_image
        (0.5, (0.0, 1.0), 0.5, 1.0)
    """

    def __init__(self, classes: int, *, overlap: float = 0.0, edges: Sequence[int] = (64, 256, 1024, 4096)) -> None:
        if classes < 1:
            raise ValueError(f"there must be 1 class at least, not {classes}.")
        if any(edge < 1 for edge in edges) or list(edges) != sorted(set(edges)):
            raise ValueError(f"edges must be rising sizes of 1 pixel or more, not {list(edges)}.")
        _check_overlap(overlap)
        self.overlap = overlap
        self.edges = tuple(edges)
        self._matches: tuple[list[LesionMatch], ...] = tuple([] for _ in range(classes))

    def add(self, pred: torch.Tensor, truth: torch.Tensor) -> None:
        """Match the lesions of one image.

        Args:
            pred: ``(C, *spatial)``, not zero where the class was found.
            truth: ``(C, *spatial)``, not zero where the class is.

        Raises:
            ValueError: when the shapes do not fit.
        """
        pred, truth = plain_channels(pred, truth, len(self._matches))
        for matches, found, there in zip(self._matches, pred, truth, strict=True):
            matches.append(match_lesions(found, there, overlap=self.overlap))

    def score(self, index: int) -> LesionScore:
        """Score of a class, counted from 0."""
        matches = self._matches[index]
        sizes = np.concatenate([match.sizes for match in matches] or [np.zeros(0, np.int64)])
        found = np.concatenate([match.found for match in matches] or [np.zeros(0, bool)])
        correct = np.concatenate([match.correct for match in matches] or [np.zeros(0, bool)])
        ranges = np.searchsorted(self.edges, sizes, side="right")
        by_size = [found[ranges == number] for number in range(len(self.edges) + 1)]
        return LesionScore(
            lesions=len(sizes),
            predicted=len(correct),
            recall=_share(found),
            precision=_share(correct),
            false_positives_per_image=float((~correct).sum() / len(matches)) if matches else float("nan"),
            lesions_by_size=tuple(len(part) for part in by_size),
            recall_by_size=tuple(_share(part) for part in by_size),
        )


def match_lesions(pred: torch.Tensor, truth: torch.Tensor, *, overlap: float = 0.0) -> LesionMatch:
    """Match the lesions of one class in one image.

    A lesion of the truth is found when the prediction covers at least this share of it, and one pixel; a predicted
    lesion is one when the truth covers at least this share of it, and one pixel. The default, any pixel in common, is
    the field's usual; a lesion that was found in several pieces is found once, and none of the pieces is false.

    Args:
        pred: ``(*spatial)``, not zero where the class was found.
        truth: ``(*spatial)``, not zero where the class is.
        overlap: 0 to 1.

    Raises:
        ValueError: when the shapes differ or ``overlap`` is out of range.
    """
    _check_overlap(overlap)
    found, there = (np.asarray(mask[0].cpu()) != 0 for mask in plain_channels(pred[None], truth[None], 1))
    sizes, hit = _covered(there, found, overlap)
    _, correct = _covered(found, there, overlap)
    return LesionMatch(sizes, hit, correct)


def label_lesions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Number the connected components of a mask from 1; 0 is background.

    Args:
        mask: ``(*spatial)``.

    Returns:
        ``(*spatial)`` numbers, and how many there are.
    """
    labels = np.empty(mask.shape, dtype=np.int32)
    count = ndimage.label(mask, np.ones([3] * mask.ndim), output=labels)
    return labels, int(count)


def _covered(
    mask: NDArray[np.bool_], cover: NDArray[np.bool_], overlap: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Size of each component of ``mask``, and whether ``cover`` covers enough of it."""
    labels, count = label_lesions(mask)
    sizes = np.bincount(labels[mask], minlength=count + 1)[1:]
    covered = np.bincount(labels[mask & cover], minlength=count + 1)[1:]
    return sizes, (covered > 0) & (covered >= overlap * sizes)


def _share(hits: NDArray[np.bool_]) -> float:
    return float(hits.mean()) if len(hits) else float("nan")


def _check_overlap(overlap: float) -> None:
    if not 0 <= overlap <= 1:
        raise ValueError(f"overlap is a share of a lesion, 0 to 1, not {overlap}.")
