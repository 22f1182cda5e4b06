"""Precision against recall over all pixels of a set of images, of which no probability map is kept.

``C`` overlapping classes, ``*spatial`` two or three axes, ``N`` thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from monai_dis.metrics.channels import plain_channels

__all__ = ["PrecisionRecall", "PrecisionRecallCurve"]


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """Precision and recall of one class, at every threshold that changes them.

    Attributes:
        thresholds: (N,) falling; what is at or above is called positive.
        precision: (N,) share of the called that are positive.
        recall: (N,) share of the positive that are called, rising to 1; nan where there are none.
    """

    thresholds: torch.Tensor
    precision: torch.Tensor
    recall: torch.Tensor

    @property
    def area(self) -> float:
        """Average precision, the sum of precision times the step in recall; nan where nothing is positive.

        Nothing is interpolated, as in scikit-learn's ``average_precision_score``.
        """
        if not len(self.recall):
            return float("nan")
        steps = self.recall.diff(prepend=self.recall.new_zeros(1))
        return float((steps * self.precision).sum())


class PrecisionRecall:
    """Accumulate histograms of the probabilities of positive and negative pixels, image by image.

    All pixels of all images count together, as the IDRiD challenge counted them (P. Porwal et al., Medical Image
    Analysis 59, 2020). Probabilities are cut down to the next multiple of ``1 / bins`` below; for those values the
    curve is exact. Memory does not grow with the images.

    Args:
        classes: number of classes.
        bins: number of steps between 0 and 1; 2**16 steps of 1.5e-5 take 1 MB a class.

    Raises:
        ValueError: when either is below 1.

    Example:
        >>> measure = PrecisionRecall(1)
        >>> measure.add(torch.tensor([[[0.9, 0.8, 0.7, 0.1]]]), torch.tensor([[[1, 0, 1, 0]]]))
        >>> round(measure.area(0), 4)  # 1/2 * 1/1 + 1/2 * 2/3
        0.8333
    """

    def __init__(self, classes: int, *, bins: int = 2**16) -> None:
        if classes < 1 or bins < 1:
            raise ValueError(f"there must be 1 class and 1 bin at least, not {classes} and {bins}.")
        self.bins = bins
        self._positive = torch.zeros(classes, bins, dtype=torch.int64)
        self._negative = torch.zeros(classes, bins, dtype=torch.int64)

    def add(self, probabilities: torch.Tensor, truth: torch.Tensor) -> None:
        """Count the pixels of one image.

        Args:
            probabilities: ``(C, *spatial)``, 0 to 1.
            truth: ``(C, *spatial)``, not zero where the class is.

        Raises:
            ValueError: when the shapes do not fit or a probability is none.
        """
        probabilities, truth = plain_channels(probabilities, truth, len(self._positive))
        low, high = probabilities.aminmax()
        if not (low >= 0 and high <= 1):
            raise ValueError(f"probabilities lie between 0 and 1, not {float(low):g} and {float(high):g}.")
        # Channel by channel: indices take as much memory as four maps of bytes.
        for index, (values, mask) in enumerate(zip(probabilities, truth, strict=True)):
            bins = (values.float() * self.bins).to(torch.int32).clamp_(max=self.bins - 1).flatten()
            every = torch.bincount(bins, minlength=self.bins).cpu()
            positive = torch.bincount(bins[mask.flatten() != 0], minlength=self.bins).cpu()
            self._positive[index] += positive
            self._negative[index] += every - positive

    def curve(self, index: int) -> PrecisionRecallCurve:
        """Curve of a class, counted from 0."""
        counts = torch.stack([self._positive[index], self._negative[index]]).flip(1)
        occupied = counts.sum(0) > 0
        true, false = counts.cumsum(1)[:, occupied].double()
        thresholds = torch.arange(self.bins - 1, -1, -1, dtype=torch.float64) / self.bins
        return PrecisionRecallCurve(thresholds[occupied], true / (true + false), true / self._positive[index].sum())

    def area(self, index: int) -> float:
        """Average precision of a class, counted from 0; see :attr:`PrecisionRecallCurve.area`."""
        return self.curve(index).area
