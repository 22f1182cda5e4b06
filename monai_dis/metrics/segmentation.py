"""Quality of one segmentation, from MONAI's metrics, with defined results where a class is absent.

========================  ====================  ==============================  =============================
of one class              both empty            one empty                       otherwise
========================  ====================  ==============================  =============================
dice, iou                 1                     0                               overlap
precision, recall         1                     0                               share of hits
accuracy                  1                     share of agreeing pixels        share of agreeing pixels
hd95                      0                     nan (there is no distance)      95th percentile, symmetric
surface_dice              1                     0                               share of surface in tolerance
volume_error              0                     nan without truth, else -1      share of the true volume, signed
========================  ====================  ==============================  =============================
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from math import isnan, nan

import torch
from monai.data import MetaTensor
from monai.metrics import (
    compute_confusion_matrix_metric,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    compute_surface_dice,
    get_confusion_matrix,
)

from monai_dis.metrics.channels import plain_channels

__all__ = ["METRICS", "mean_metrics", "overlapping_metrics", "segmentation_metrics"]

#: Names of the metrics, in the order of a table's columns.
METRICS = ("dice", "iou", "precision", "recall", "accuracy", "hd95", "surface_dice", "volume_error")

_PERCENTILE = 95


def segmentation_metrics(
    pred: torch.Tensor,
    truth: torch.Tensor,
    num_classes: int | None = None,
    *,
    spacing: Sequence[float] | None = None,
    tolerance: float = 2.0,
) -> dict[str, float]:
    """Compare class indices with the truth, on the original geometry.

    Args:
        pred: ``(*spatial)`` or ``(1, *spatial)`` class indices, 2D or 3D.
        truth: the same shape.
        num_classes: number of classes with the background, 2 for a foreground alone; None for the classes that are
            seen in either (2 at least). Give it for several classes: a class that neither has is perfect only where it
            is counted.
        spacing: size of a pixel along each axis; None for 1, distances in pixels.
        tolerance: distance that surface Dice forgives, in the unit of ``spacing``.

    Returns:
        every name of :data:`METRICS` as the mean over the foreground classes (``hd95`` and ``volume_error`` over those where
        they are defined, nan when there is none) and, for more than one foreground class, ``<name>_<class index>`` of each.

    Raises:
        ValueError: when the shapes differ, ``num_classes`` is below 2 or a class index is not below it.

    Example:
        >>> truth = torch.zeros(8, 8, dtype=torch.long)
        >>> truth[2:6, 2:6] = 1
        >>> segmentation_metrics(truth, truth, 2)["dice"]
        1.0
    """
    pred, truth = _plain(pred), _plain(truth)
    if pred.shape != truth.shape:
        raise ValueError(
            f"the prediction is {tuple(pred.shape)}, the truth {tuple(truth.shape)}: bring them to one grid."
        )
    highest = max(int(pred.max()), int(truth.max()))
    num_classes = max(2, highest + 1) if num_classes is None else num_classes
    if num_classes < 2:
        raise ValueError(f"num_classes counts the background too, so it is 2 or more, not {num_classes}.")
    if highest >= num_classes:
        raise ValueError(f"class {highest} is there, but num_classes is {num_classes}; count the background too.")
    pairs = ((pred == index, truth == index) for index in range(1, num_classes))
    return _mean_and_classes(pairs, spacing, tolerance)


def overlapping_metrics(
    pred: torch.Tensor, truth: torch.Tensor, *, spacing: Sequence[float] | None = None, tolerance: float = 2.0
) -> dict[str, float]:
    """Compare the masks of classes that may overlap with the truth, class by class, on the original geometry.

    Args:
        pred: ``(C, *spatial)`` a mask for each class, without a background, 2D or 3D.
        truth: the same shape.
        spacing: as in :func:`segmentation_metrics`.
        tolerance: as in :func:`segmentation_metrics`.

    Returns:
        as :func:`segmentation_metrics`, where the first channel has the class index 1.

    Raises:
        ValueError: when the shapes differ.

    Example:
        >>> truth = torch.ones(2, 4, 4)
        >>> overlapping_metrics(truth * torch.tensor([1, 0]).reshape(2, 1, 1), truth)["dice"]
        0.5
    """
    pred, truth = plain_channels(pred, truth, len(truth))
    pairs = ((found != 0, there != 0) for found, there in zip(pred, truth, strict=True))
    return _mean_and_classes(pairs, spacing, tolerance)


def mean_metrics(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each metric over images (or classes); nan is left out, and stays nan where no row has a value.

    Args:
        rows: metrics of each image, all with the same names.
    """
    names = rows[0] if rows else {}
    return {name: _mean([row[name] for row in rows if not isnan(row[name])]) for name in names}


def _mean_and_classes(
    pairs: Iterable[tuple[torch.Tensor, torch.Tensor]], spacing: Sequence[float] | None, tolerance: float
) -> dict[str, float]:
    classes = {
        index: _class_metrics(pred, truth, spacing=spacing, tolerance=tolerance)
        for index, (pred, truth) in enumerate(pairs, start=1)
    }
    result = mean_metrics(list(classes.values()))
    if len(classes) > 1:
        result |= {f"{name}_{index}": values[name] for index, values in classes.items() for name in METRICS}
    return result


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else nan


def _plain(labels: torch.Tensor) -> torch.Tensor:
    labels = labels.as_tensor() if isinstance(labels, MetaTensor) else torch.as_tensor(labels)
    return labels[0] if labels.ndim in (3, 4) and labels.shape[0] == 1 else labels


def _class_metrics(
    pred: torch.Tensor, truth: torch.Tensor, *, spacing: Sequence[float] | None, tolerance: float
) -> dict[str, float]:
    has_pred, has_truth = bool(pred.any()), bool(truth.any())
    accuracy = float((pred == truth).float().mean())
    if not (has_pred and has_truth):
        # MONAI's answers differ from metric to metric here (0, 1, nan or inf, and a warning).
        same = float(has_pred == has_truth)
        values = dict.fromkeys(METRICS, same)
        volume_error = 0.0 if same else -1.0 if has_truth else nan
        return {**values, "accuracy": accuracy, "hd95": 0.0 if same else nan, "volume_error": volume_error}
    y_pred, y = pred[None, None].float(), truth[None, None].float()
    confusion = get_confusion_matrix(y_pred, y)
    distances = list(spacing) if spacing is not None else None
    with warnings.catch_warnings():
        # MONAI 1.6 calls its own deprecated argument.
        warnings.filterwarnings("ignore", ".*always_return_as_numpy", FutureWarning)
        hd95 = compute_hausdorff_distance(y_pred, y, include_background=True, percentile=_PERCENTILE, spacing=distances)
        surface_dice = compute_surface_dice(y_pred, y, [tolerance], include_background=True, spacing=distances)
    return {
        "dice": float(compute_dice(y_pred, y)),
        "iou": float(compute_iou(y_pred, y)),
        "precision": float(compute_confusion_matrix_metric("precision", confusion)),
        "recall": float(compute_confusion_matrix_metric("recall", confusion)),
        "accuracy": accuracy,
        "hd95": float(hd95),
        "surface_dice": float(surface_dice),
        "volume_error": float(pred.sum() / truth.sum()) - 1.0,
    }
