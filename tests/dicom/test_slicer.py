"""Results before 3D Slicer's own library: every voxel at the place where the source has it (O1, O10)."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import call
from dicom_phantom import Grid, oblique_grid, phantom
from dicom_study import save_shuffled, small_series

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("slicer_core") is None, reason="slicer-core is not installed"),
]

PROBE = Path(__file__).parents[1] / "support" / "slicer_probe.py"
REVERSED = Grid(row_direction=(-1.0, 0.0, 0.0), column_direction=(0.0, -1.0, 0.0), origin=(39.0, 31.0, -100.0))
GRIDS = [
    pytest.param(Grid(row_spacing=1.5, column_spacing=3.0), id="non-square"),
    pytest.param(oblique_grid(30, 20), id="oblique"),
    pytest.param(REVERSED, id="reversed"),
]


def segmented(grid: Grid, bundle: Path, folder: Path, kind: str) -> str:
    source = folder / "in"
    if not source.exists():
        save_shuffled(small_series(grid, phantom(grid)), source)
    assert call("segment", source, "-b", bundle, "-o", folder / kind, "--format", kind) == 0
    output: str = json.loads((folder / kind / "report.json").read_text())["images"][0]["output"]
    return output


def in_slicer(folder: Path, *files: str | Path) -> list[list[tuple[dict[str, Any], np.ndarray]]]:
    """For each file, what each segment is and where its voxels are (RAS, mm)."""
    command = [sys.executable, PROBE, folder / "probe.npz", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "probe.npz") as found:
        keys = [key.removeprefix("about ") for key in found if key.startswith("about ")]
        everything = {key: (json.loads(str(found[f"about {key}"])), found[f"points {key}"]) for key in keys}
    return [[each for key, each in everything.items() if key.startswith(f"{number} ")] for number in range(len(files))]


def assert_at(points: np.ndarray, mask: np.ndarray, grid: Grid) -> None:
    """Voxels where a mask (columns, rows, slices) is, each at its own place."""
    indices = np.argwhere(mask)
    assert len(points) == len(indices) > 0
    ras = (np.column_stack([indices, np.ones(len(indices))]) @ grid.affine().T)[:, :3] * [-1, -1, 1]
    back = np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine())
    found = np.rint((np.column_stack([points, np.ones(len(points))]) @ back.T)[:, :3]).astype(int)
    order = np.lexsort(found.T[::-1])
    assert np.array_equal(found[order], indices)
    assert np.abs(points[order] - ras).max() < 1e-3


@pytest.mark.parametrize("grid", GRIDS)
def test_slicer_finds_every_voxel_where_the_source_has_it(grid: Grid, volume_bundle: Path, tmp_path: Path) -> None:
    truth = np.digitize(phantom(grid), [64, 192]).T
    files = [segmented(grid, volume_bundle, tmp_path, kind) for kind in ("nrrd", "nifti")]
    (kidney, liver), plain = in_slicer(tmp_path, *files)
    assert [kidney[0]["name"], liver[0]["name"]] == ["Right kidney", "Liver"]
    assert "SCT^64033007^Kidney~SCT^24028007^Right" in kidney[0]["terminology"]
    assert np.allclose(np.multiply(liver[0]["color"], 255), [221, 130, 101], atol=0.5)
    for number, (segment, label) in enumerate(zip((kidney, liver), plain, strict=True), start=1):
        assert_at(segment[1], truth == number, grid)
        assert_at(label[1], truth == number, grid)


@pytest.mark.skipif(shutil.which("segimage2itkimage") is None, reason="dcmqi is not installed")
@pytest.mark.parametrize("grid", GRIDS)
def test_slicer_finds_a_seg_where_the_source_is(grid: Grid, volume_bundle: Path, tmp_path: Path) -> None:
    """As Slicer's DICOM module imports a SEG: dcmqi makes a volume of each segment."""
    seg = segmented(grid, volume_bundle, tmp_path, "seg")
    (tmp_path / "dcmqi").mkdir()
    command = ["segimage2itkimage", "--inputDICOM", seg, "--outputDirectory", tmp_path / "dcmqi", "-t", "nrrd"]
    subprocess.run(command, capture_output=True, check=True)
    truth = np.digitize(phantom(grid), [64, 192]).T
    for number, ((_, points),) in enumerate(in_slicer(tmp_path, *sorted((tmp_path / "dcmqi").glob("*.nrrd"))), start=1):
        assert_at(points, truth == number, grid)


def test_slicer_keeps_classes_that_overlap_apart(overlapping_bundle: Path, tmp_path: Path) -> None:
    grid = Grid(row_spacing=1.5, column_spacing=3.0)
    ((first, second),) = in_slicer(tmp_path, segmented(grid, overlapping_bundle, tmp_path, "nrrd"))
    assert first[0]["layers"] == 2
    assert_at(first[1], phantom(grid).T >= 64, grid)
    assert_at(second[1], phantom(grid).T >= 192, grid)
