"""Results before tools that we have not written: dciodvfy, DCMTK, dcmqi, ITK; the same mask in the same place for each (O1, O2)."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import call
from dicom_objects import ENHANCED_CT_IMAGE, Identity, enhanced_image
from dicom_phantom import Grid, oblique_grid, phantom, tilted_grid
from dicom_study import save_shuffled, small_series

Source = Callable[[Path], Path]


def series_on(grid: Grid) -> Source:
    return lambda folder: save_shuffled(small_series(grid, phantom(grid)), folder)


def multi_frame(folder: Path) -> Path:
    grid = Grid()
    frames = [(0, index) for index in reversed(range(grid.slices))]
    stored = phantom(grid)[None].astype(int) + 1024
    return save_shuffled([enhanced_image(Identity("multi"), ENHANCED_CT_IMAGE, grid, stored, frames)], folder)


def with_a_gap(folder: Path) -> Path:
    series = small_series(Grid(), phantom(Grid()))
    return save_shuffled([*series[:9], *series[11:]], folder)


def empty(folder: Path) -> Path:
    return save_shuffled(small_series(Grid(), np.full((24, 32, 40), -1000)), folder)


REVERSED = Grid(row_direction=(-1.0, 0.0, 0.0), column_direction=(0.0, -1.0, 0.0), origin=(39.0, 31.0, -100.0))
SOURCES = [
    pytest.param(series_on(Grid()), id="axial"),
    pytest.param(series_on(Grid(row_spacing=1.5, column_spacing=3.0)), id="non-square"),
    pytest.param(series_on(oblique_grid(30, 20)), id="oblique"),
    pytest.param(series_on(REVERSED), id="reversed"),
    pytest.param(series_on(tilted_grid(15)), id="tilted"),
    pytest.param(multi_frame, id="multi-frame"),
    pytest.param(with_a_gap, id="gap"),
    pytest.param(empty, id="nothing-found"),
]


def segmented(source: Path, bundle: Path, out: Path, *options: str) -> dict[str, Any]:
    relaxed = ("--policy", "SLICE_GAP=warn")
    assert call("segment", source, "-b", bundle, "-o", out, *relaxed, *options) == 0
    return json.loads((out / "report.json").read_text())["images"][0]


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_dciodvfy_finds_no_error(source: Source, volume_bundle: Path, tmp_path: Path) -> None:
    program = tool("dciodvfy")
    entry = segmented(source(tmp_path / "in"), volume_bundle, tmp_path / "out", "--uncertainty")
    for key in ("output", "sr", "uncertainty"):
        said = subprocess.run([program, entry[key]], capture_output=True, check=False).stderr.decode("latin-1")
        assert not [line for line in said.splitlines() if line.startswith("Error")], key


@pytest.mark.slow
def test_dcmtk_reads_every_object(volume_bundle: Path, tmp_path: Path) -> None:
    program = tool("dcmdump")
    entry = segmented(series_on(Grid())(tmp_path / "in"), volume_bundle, tmp_path / "out", "--uncertainty")
    for key in ("output", "sr", "uncertainty"):
        done = subprocess.run([program, "--quiet", entry[key]], capture_output=True, check=False)
        assert done.returncode == 0
        assert b"RESEARCH" in done.stdout.upper()


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES[:4] + SOURCES[5:6])
def test_dcmqi_and_itk_find_the_same_mask_in_the_same_place(
    source: Source, volume_bundle: Path, tmp_path: Path
) -> None:
    program, itk = tool("segimage2itkimage"), pytest.importorskip("itk")
    folder = source(tmp_path / "in")
    seg = segmented(folder, volume_bundle, tmp_path / "seg")["output"]
    (tmp_path / "dcmqi").mkdir()
    subprocess.run(
        [program, "--inputDICOM", seg, "--outputDirectory", tmp_path / "dcmqi", "-t", "nrrd"],
        capture_output=True, check=True,
    )  # fmt: skip
    files = {
        kind: segmented(folder, volume_bundle, tmp_path / kind, "--format", kind)["output"]
        for kind in ("nrrd", "nifti")
    }
    images = {kind: itk.imread(path) for kind, path in files.items()}
    grid = affine_of(itk, images["nrrd"])
    labels = {kind: labels_on(itk, image, grid) for kind, image in images.items()}
    one_by_one = {}
    for number in (1, 2):
        (path,) = (tmp_path / "dcmqi").glob(f"*{number}.nrrd")
        one_by_one.update(dict.fromkeys(labels_on(itk, itk.imread(str(path)), grid), number))
    assert len(one_by_one) > 100
    assert one_by_one == labels["nrrd"] == labels["nifti"]


def affine_of(itk: Any, image: Any) -> np.ndarray:
    """(4, 4) from voxel indices to mm."""
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return affine


def labels_on(itk: Any, image: Any, grid: np.ndarray) -> dict[tuple[int, ...], int]:
    """Labels by the voxel of a grid in whose centre they lie."""
    values = itk.array_from_image(image)
    found = np.argwhere(values)
    points = np.column_stack([found[:, ::-1], np.ones(len(found))]) @ (np.linalg.inv(grid) @ affine_of(itk, image)).T
    indices = np.rint(points[:, :3])
    assert np.abs(points[:, :3] - indices).max() < 1e-3
    keys = map(tuple, indices.astype(int).tolist())
    return dict(zip(keys, (int(values[tuple(index)]) for index in found), strict=True))
