"""What an answer says besides its voxels: seconds, windows, volumes, centroids, and how uncertain it stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from monai_dis.data.image_files import PICTURE_SUFFIXES, image_suffix
from monai_dis.pipeline.objects import objects_of
from monai_dis.pipeline.predict import Prediction

__all__ = ["centroids", "describe", "renumbered_about", "voxel_volume_mm"]

_MM3_PER_ML = 1000.0


def describe(prediction: Prediction, classes: Mapping[int, str], name: str, *, objects: bool = False) -> dict[str, Any]:
    """Describe an answer in plain JSON types.

    Args:
        prediction: the answer on the file's grid.
        classes: names by index, from 1.
        name: of the file, which says whether it is a picture: its pixels are no millimetres.
        objects: whether what is found is listed one after another.

    Returns:
        ``latencies`` in seconds by stage, ``windows``, ``volumes_ml`` (of a picture ``areas_pixels``), ``centroids`` as voxels of the
        file, ``uncertainty``, ``label_names``, and where they were asked for what `monai_dis.pipeline.objects.Objects` says.
    """
    statistics = prediction.statistics
    masks = prediction.class_masks()
    counts = {classes.get(number, str(number)): int(mask.sum()) for number, mask in enumerate(masks, start=1)}
    picture = image_suffix(name) in PICTURE_SUFFIXES
    seconds = {stage: round(value, 4) for stage, value in prediction.watch.seconds.items()}
    voxel = voxel_volume_mm(prediction)
    sizes: dict[str, Any]
    if picture or voxel is None:
        sizes = {"areas_pixels": counts}
    else:
        sizes = {"volumes_ml": {each: round(count * voxel / _MM3_PER_ML, 4) for each, count in counts.items()}}
    return {
        "label_names": {name: number for number, name in classes.items()},
        "latencies": {**seconds, "total": round(sum(prediction.watch.seconds.values()), 4)},
        "windows": {
            "refined": int(statistics.get("windows_refined", len(statistics["windows"]))),
            "candidates": int(statistics["windows_total"]),
        },
        **sizes,
        "centroids": centroids(prediction, classes),
        "uncertainty": _uncertainty(statistics, None if picture else voxel),
        **(objects_of(prediction, classes, picture=picture).to_dict() if objects else {}),
    }


def voxel_volume_mm(prediction: Prediction) -> float | None:
    """Volume of a voxel in mm3, None for images of two axes."""
    if prediction.image.ndim != 4:
        return None
    return float(abs(np.linalg.det(prediction.image.affine.double().cpu().numpy()[:3, :3])))


def centroids(prediction: Prediction, classes: Mapping[int, str]) -> dict[str, list[str]]:
    """The middle of each class that was found: its index, then column, row (and slice), as OHIF reads them."""
    found = {}
    for number, mask in enumerate(prediction.class_masks(), start=1):
        places = mask.nonzero()
        if len(places):
            middle = [round(float(value), 1) for value in places.double().mean(dim=0)]
            middle += [0.0] * (3 - len(middle))
            found[classes.get(number, str(number))] = [str(number), *map(str, middle)]
    return found


def renumbered_about(
    about: Mapping[str, Any], numbers: Mapping[int, int], classes: Mapping[int, str]
) -> dict[str, Any]:
    """What an answer says, with other numbers for its classes.

    Args:
        about: as from `describe`.
        numbers: the new number of each index.
        classes: names by index.
    """
    middles = {name: [str(numbers[int(at[0])]), *at[1:]] for name, at in about["centroids"].items()}
    return {**about, "label_names": {name: numbers[index] for index, name in classes.items()}, "centroids": middles}


def _uncertainty(statistics: Mapping[str, Any], voxel_mm: float | None) -> dict[str, Any]:
    """The share of the image whose entropy is above one half, and how far refinement changed the coarse answer."""
    summary: dict[str, Any] = {}
    if statistics.get("uncertain_left"):
        summary["share_uncertain"] = round(float(statistics["uncertain_left"][0]), 6)
    if voxel_mm is not None and statistics.get("uncertain_left_mm"):
        summary["uncertain_ml"] = round(float(statistics["uncertain_left_mm"][0]) / _MM3_PER_ML, 4)
    if statistics.get("dice_coarse_refined"):
        summary["dice_coarse_refined"] = round(float(statistics["dice_coarse_refined"][0]), 4)
    return summary
