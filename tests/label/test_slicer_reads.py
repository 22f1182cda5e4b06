"""Answers of the reading desk before 3D Slicer's own library: every voxel where the image has it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom")

from monai.data import MetaTensor

from monai_dis.bundle.dicom_metadata import Code, SegmentEntry
from monai_dis.label.files import write_answer

pytestmark = pytest.mark.skipif(importlib.util.find_spec("slicer_core") is None, reason="slicer-core is not installed")

PROBE = Path(__file__).parents[1] / "support" / "slicer_probe.py"
TISSUE = Code("85756007", "SCT", "Tissue")


def test_slicer_finds_every_voxel_of_every_format(tmp_path: Path) -> None:
    labels = np.zeros((9, 8, 7), np.uint8)
    labels[2:5, 3, 1:3], labels[6, 1:4, 5] = 1, 2
    turned = np.array([[0.0, -2.0, 0.0, 10.0], [-1.5, 0.0, 0.0, 20.0], [0.0, 0.0, 3.0, -30.0], [0, 0, 0, 1]])
    image = MetaTensor(np.zeros((1, *labels.shape)), affine=turned, meta={"original_affine": turned})
    image.meta["spatial_shape"] = np.asarray(labels.shape)
    segments = {number: SegmentEntry(name, TISSUE, TISSUE) for number, name in ((1, "one"), (2, "two"))}
    files = [tmp_path / f"answer{suffix}" for suffix in (".nii.gz", ".nrrd", ".seg.nrrd")]
    for file in files:
        write_answer(labels, image, file, segments)
    done = subprocess.run(
        [sys.executable, PROBE, tmp_path / "probe.npz", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "probe.npz") as found:
        for number in range(len(files)):
            for index, value in enumerate((1, 2)):
                points = found[f"points {number} {index}"]
                wanted = (np.column_stack([np.argwhere(labels == value), np.ones((labels == value).sum())]) @ turned.T)[
                    :, :3
                ]
                order, other = np.lexsort(points.round(3).T), np.lexsort(wanted.round(3).T)
                assert np.allclose(points[order], wanted[other], atol=1e-3)
        assert json.loads(str(found["about 2 1"]))["name"] == "two"
