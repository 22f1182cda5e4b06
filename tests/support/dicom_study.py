"""Studies and a bundle for tests of DICOM results: a phantom on any grid, and a bundle whose answers are known."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from dicom_files import write_part10
from dicom_objects import Identity, ct_series
from dicom_phantom import Grid
from pydicom.dataset import Dataset

from monai_dis.bundle.dicom_metadata import Code, DicomEntry, SegmentEntry
from monai_dis.dicom.inspection import inspect
from monai_dis.dicom.target import Target
from monai_dis.dicom.uids import ResultIdentity
from monai_dis.dicom.volume_plan import VolumePlan

__all__ = [
    "ENTRY",
    "SEGMENTS",
    "identity_of",
    "make_volume_bundle",
    "open_plan",
    "overlapping_bundle",
    "save_shuffled",
    "small_series",
    "volume_bundle",
]

CATEGORY = {"value": "123037004", "scheme": "SCT", "meaning": "Anatomical Structure"}
SEGMENTS = {
    "1": {
        "label": "Right kidney",
        "category": CATEGORY,
        "type": {"value": "64033007", "scheme": "SCT", "meaning": "Kidney"},
        "modifier": {"value": "24028007", "scheme": "SCT", "meaning": "Right"},
    },
    "2": {
        "label": "Liver",
        "category": CATEGORY,
        "type": {"value": "10200004", "scheme": "SCT", "meaning": "Liver"},
        "color": [221, 130, 101],
    },
}
ENTRY = DicomEntry(
    modalities=("CT", "MR"),
    segments={
        1: SegmentEntry(
            "Right kidney",
            Code("123037004", "SCT", "Anatomical Structure"),
            Code("64033007", "SCT", "Kidney"),
            modifier=Code("24028007", "SCT", "Right"),
        ),
        2: SegmentEntry(
            "Liver",
            Code("123037004", "SCT", "Anatomical Structure"),
            Code("10200004", "SCT", "Liver"),
            color=(221, 130, 101),
        ),
    },
)


def small_series(grid: Grid, volume: np.ndarray) -> list[Dataset]:
    """A CT series of a volume (slices, rows, columns) in Hounsfield units."""
    return ct_series(Identity("small"), grid, volume)


def save_shuffled(series: Sequence[Dataset], folder: Path, seed: int = 0) -> Path:
    """Write a series under names that say nothing of its order."""
    numbers = list(range(len(series)))
    random.Random(seed).shuffle(numbers)
    for number, data in zip(numbers, series, strict=True):
        write_part10(folder / f"{number:03d}", data)
    return folder


@contextmanager
def open_plan(folder: Path, target: Target | None = None) -> Iterator[VolumePlan]:
    """The one volume of a folder."""
    with inspect(folder, target or Target()) as found:
        assert len(found.volumes) == 1, found.findings
        plan = found.volumes[0]
        assert isinstance(plan, VolumePlan)
        yield plan


def identity_of(plan: VolumePlan, weights: str = "a" * 64) -> ResultIdentity:
    """What a result on this volume is made of."""
    return ResultIdentity(tuple(each.uid for each in plan.instances), "phantom", "0.0.1", weights, "b" * 64)


@pytest.fixture
def volume_bundle(tiny_bundle: Path) -> Path:
    """A bundle for CT whose answer is known: class 1 from 64 to 191 Hounsfield units, class 2 above."""
    return make_volume_bundle(tiny_bundle)


def make_volume_bundle(tiny_bundle: Path) -> Path:
    """Turn the small bundle into that one."""
    config = tiny_bundle / "configs" / "inference.yaml"
    text = config.read_text()
    for old, new in {
        "torch.nn.Conv2d, in_channels: 3, out_channels: 1": "torch.nn.Conv3d, in_channels: 1, out_channels: 3",
        "{_target_: Resized, keys: image, spatial_size: [64, 64], mode: bilinear}": (
            "{_target_: Orientationd, keys: image, axcodes: RAS, labels: null}"
        ),
        "roi_size: [16, 16]": "roi_size: [16, 16, 16]",
        "levels: [8, 1]": "levels: [2, 1]",
        "budget: {windows: 4}": "budget: {windows: 1000}",
        "keys: pred, sigmoid: true": "keys: pred, softmax: true",
        "threshold: 0.5": "argmax: true",
    }.items():
        assert old in text
        text = text.replace(old, new)
    config.write_text(text)
    # classes by brightness b in [0, 1]: 0, 40 b - 10, 80 b - 40: borders at 1/4 and 3/4
    weight, bias = torch.tensor([0.0, 40.0, 80.0]).reshape(3, 1, 1, 1, 1), torch.tensor([0.0, -10.0, -40.0])
    torch.save(
        {f"{s}.{n}": v for s in ("coarse", "refine") for n, v in (("weight", weight), ("bias", bias))},
        tiny_bundle / "models" / "model.pt",
    )
    file = tiny_bundle / "configs" / "metadata.json"
    metadata = json.loads(file.read_text())
    metadata["dicom"] = {"modalities": ["CT"], "body_parts": ["ABDOMEN"], "segments": SEGMENTS}
    file.write_text(json.dumps(metadata))
    return tiny_bundle


@pytest.fixture
def overlapping_bundle(volume_bundle: Path) -> Path:
    """A bundle for CT whose classes overlap: class 1 from 64 Hounsfield units, class 2 inside it from 192."""
    config = volume_bundle / "configs" / "inference.yaml"
    text = config.read_text()
    for old, new in {
        "out_channels: 3": "out_channels: 2",
        "softmax: true": "sigmoid: true",
        "argmax: true": "threshold: 0.5",
    }.items():
        assert old in text
        text = text.replace(old, new)
    config.write_text(text)
    weight, bias = torch.tensor([40.0, 40.0]).reshape(2, 1, 1, 1, 1), torch.tensor([-10.0, -30.0])
    torch.save(
        {f"{s}.{n}": v for s in ("coarse", "refine") for n, v in (("weight", weight), ("bias", bias))},
        volume_bundle / "models" / "model.pt",
    )
    return volume_bundle
