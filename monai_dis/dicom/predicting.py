"""Labels of a DICOM volume on its own grid: straightened for the network and bent back, or slice by slice for a network of slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor

from monai_dis.data.coordinates import swap_ras_lps
from monai_dis.dicom.geometry import Vector
from monai_dis.dicom.loaded_study import LoadedStudy
from monai_dis.dicom.straighten import Straightening, bend_back, plan_straightening, straighten
from monai_dis.pipeline.predict import Prediction, Predictor
from monai_dis.pipeline.window_outlines import Box

__all__ = ["VOLUME_NAME", "VolumeAnswer", "as_image", "as_photograph", "predict_volume"]

#: What a volume is called where a file would be named.
VOLUME_NAME = Path("the DICOM volume")
_COLOURS = 3


@dataclass(frozen=True)
class VolumeAnswer:
    """The answer for a volume.

    Attributes:
        labels: (columns, rows, slices) class indices, or (segments, columns, rows, slices) of 0 and 1 for classes that overlap;
            0 in slices that are missing.
        prediction: with the figures of the whole run, and the image and windows that a picture shows.
        refined: (columns, rows, slices) bool, where windows were refined.
        uncertainty: (columns, rows, slices) float32, 0 to 1; None unless it was asked for.
    """

    labels: npt.NDArray[Any] = field(repr=False)
    prediction: Prediction = field(repr=False)
    refined: npt.NDArray[np.bool_] = field(repr=False)
    uncertainty: npt.NDArray[np.float32] | None = field(default=None, repr=False)


def predict_volume(
    loaded: LoadedStudy, predictor: Predictor, spatial_dims: int, *, uncertainty: bool = False
) -> VolumeAnswer:
    """Segment a volume.

    Args:
        loaded: the study.
        predictor: with the bundle's transforms.
        spatial_dims: of the network; 2 to take slice after slice.
        uncertainty: whether to say where the answer stays uncertain.

    Raises:
        ImageError: when the volume does not fit the network.
    """
    segment = _slices if spatial_dims == 2 else _volume
    answer = segment(loaded, predictor, uncertainty)
    missing = list(loaded.plan.missing)
    for array in (answer.labels, answer.refined, answer.uncertainty):
        if array is not None and missing:
            array[..., missing] = 0  # not assessed
    return answer


def _volume(loaded: LoadedStudy, predictor: Predictor, uncertainty: bool) -> VolumeAnswer:
    values, affine, bent = loaded.values, loaded.plan.affine_lps, None
    if loaded.plan.sheared:
        bent = plan_straightening(affine, loaded.plan.shape)
        values, affine = straighten(values, bent), bent.affine_lps
    prediction = predictor(VOLUME_NAME, as_image(values, affine), uncertainty=uncertainty)

    def back(array: npt.NDArray[Any], bent: Straightening | None = bent) -> npt.NDArray[Any]:
        return array if bent is None else bend_back(array, bent)

    labels = _labels(back(prediction.labels.numpy()))
    refined = back(_inside(prediction.boxes, values.shape))
    uncertain = None if prediction.uncertainty is None else back(_float(prediction))
    return VolumeAnswer(labels, prediction, refined, uncertain)


def _slices(loaded: LoadedStudy, predictor: Predictor, uncertainty: bool) -> VolumeAnswer:
    values, shown = loaded.values, loaded.plan.shape[2] // 2
    photograph, coloured = loaded.plan.photograph, predictor.expected.channels == _COLOURS
    if coloured and not photograph:
        values = _display_values(values)
    plane = _plane(loaded.plan.affine_lps)
    labels, refined, uncertain, figures = [], [], [], []
    kept: Prediction | None = None
    for index in range(loaded.plan.shape[2]):
        if photograph:
            image = as_photograph(values, loaded.plan.affine_lps)
        else:
            image = as_image(values[:, :, index], plane)
        if coloured and not photograph:
            image = MetaTensor(image.as_tensor().expand(_COLOURS, -1, -1).clone(), affine=image.affine, meta=image.meta)
        each = predictor(VOLUME_NAME, image, uncertainty=uncertainty)
        labels.append(each.labels.numpy())
        refined.append(_inside(each.boxes, image.shape[1:]))
        if each.uncertainty is not None:
            uncertain.append(_float(each))
        figures.append(each)
        kept = each if index == shown or kept is None else kept
        # Of all slices but the one that a picture shows, the figures are enough.
        figures[-1] = replace(each, labels=torch.empty(0), image=MetaTensor(torch.empty(0)), uncertainty=None, boxes=())
    assert kept is not None
    whole = _labels(np.stack(labels, axis=-1))
    joined = replace(kept, statistics=_summed([each.statistics for each in figures]), watch=kept.watch)
    for each in figures:
        if each.watch is not kept.watch:
            for stage, seconds in each.watch.seconds.items():
                joined.watch.seconds[stage] = joined.watch.seconds.get(stage, 0.0) + seconds
    doubt = np.stack(uncertain, axis=-1) if uncertain else None
    return VolumeAnswer(whole, joined, np.stack(refined, axis=-1), doubt)


def _display_values(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Grey values as a photograph would have them, 0 to 255 over the volume's own range, for a network of photographs.

    Such a network gets here only where a site let the wrong modality pass, and the result says so.
    """
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) * (255 / max(high - low, 1e-6)), dtype=np.float32)


def _summed(statistics: Sequence[Any]) -> dict[str, Any]:
    """Counts and operations of all slices together."""
    first = dict(statistics[0])
    summed: dict[str, Any] = {"windows": []}
    for key, value in first.items():
        if key == "operations_unit":
            summed[key] = value
        elif key == "windows_total" or key.startswith("operations"):
            summed[key] = sum(each[key] for each in statistics)
        elif key.startswith("fraction") and value is not None:
            summed[key] = sum(each[key] or 0.0 for each in statistics) / len(statistics)
    summed["windows_refined"] = sum(each.get("windows_refined", len(each["windows"])) for each in statistics)
    return summed


def _inside(boxes: Sequence[Box], shape: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which voxels windows cover; a window that is turned against the grid counts with the box around it."""
    inside = np.zeros(tuple(shape), dtype=np.bool_)
    for box in boxes:
        low, high = np.ceil(box.low - 1e-6).astype(int), np.floor(box.high + 1e-6).astype(int) + 1
        inside[tuple(slice(max(0, a), b) for a, b in zip(low, high, strict=True))] = True
    return inside


def _float(prediction: Prediction) -> npt.NDArray[np.float32]:
    assert prediction.uncertainty is not None
    return prediction.uncertainty.float().numpy()


def as_image(values: npt.NDArray[np.float32], affine_lps: Vector) -> MetaTensor:
    """A volume or slice as MONAI's readers give it.

    Args:
        values: (columns, rows[, slices]).
        affine_lps: (4, 4) from (column, row, slice) to LPS coordinates in mm.

    Returns:
        (1, columns, rows[, slices]) with the affine to RAS coordinates.
    """
    affine = torch.as_tensor(swap_ras_lps(affine_lps))
    meta = {
        "spatial_shape": np.asarray(values.shape),
        "original_affine": affine.numpy(),
        "filename_or_obj": str(VOLUME_NAME),
        "space": "RAS",
    }
    return MetaTensor(torch.as_tensor(np.ascontiguousarray(values))[None], affine=affine, meta=meta)


def as_photograph(values: npt.NDArray[np.float32], affine_lps: Vector) -> MetaTensor:
    """A photograph as MONAI's readers give a picture.

    Args:
        values: (3, columns, rows, 1), as `monai_dis.dicom.photographs.read_photograph` gives them.
        affine_lps: (4, 4), of which the size of a pixel is taken.

    Returns:
        (3, columns, rows).
    """
    plane = as_image(values[0, :, :, 0], _plane(affine_lps))
    return MetaTensor(torch.as_tensor(np.ascontiguousarray(values[..., 0])), affine=plane.affine, meta=plane.meta)


def _plane(affine_lps: Vector) -> Vector:
    """A slice lies in its own plane: of a sagittal one, the first two patient axes would be a single line."""
    return np.diag([*np.linalg.norm(affine_lps[:3, :2], axis=0), 1.0, 1.0])


def _labels(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Class indices, or 0 and 1 for each of several classes that overlap."""
    whole: npt.NDArray[Any] = np.rint(labels).astype(np.uint16)
    return whole[0] if whole.shape[0] == 1 else (whole > 0).astype(np.uint8)
