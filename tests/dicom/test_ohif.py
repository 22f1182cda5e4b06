"""Our SEG in the OHIF viewer, over the images of an Orthanc: coloured where the segments are, and nowhere else (O1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from command_line import call
from dicom_peers import needs_orthanc, orthanc
from dicom_phantom import Grid, phantom
from dicom_study import save_shuffled, small_series
from ohif import needs_ohif, take_picture, viewer
from PIL import Image

GRID = Grid(row_spacing=1.5, column_spacing=3.0)
#: Number of the image that is looked at, from 0; the viewer begins with the last one.
SHOWN = 12


@needs_ohif
@needs_orthanc
@pytest.mark.slow
def test_ohif_colours_the_segments_where_they_are(volume_bundle: Path, tmp_path: Path) -> None:
    values = phantom(GRID)
    values[values == 150] = 300  # the organ, so that both classes are seen
    source = save_shuffled(small_series(GRID, values), tmp_path / "in")
    study = str(pydicom.dcmread(next(source.iterdir())).StudyInstanceUID)
    picture = tmp_path / "ohif.png"
    with orthanc(tmp_path / "orthanc") as archive:
        assert call("segment", source, "-b", volume_bundle, "-o", tmp_path / "out") == 0
        assert call("dicom", "send", archive.url, source, tmp_path / "out") == 0
        with viewer(archive.url) as address:
            position = f"({GRID.slices - SHOWN}/{GRID.slices})"
            viewport = take_picture(address, study, "SEG monai_dis", position, picture)
    shown = hues(np.asarray(Image.open(picture).convert("RGB")).astype(int))
    truth = np.digitize(values[SHOWN], [64, 192])
    assert set(np.unique(truth)) == {0, 1, 2}
    rows, columns = places(viewport)
    assert np.array_equal(shown[np.ix_(rows, columns)], truth)
    # Borders are drawn as lines, a few pixels wide.
    left, top = int(viewport["x"]), int(viewport["y"])
    inside = shown[top : top + int(viewport["height"]), left + 20 : left + int(viewport["width"]) - 20]
    pixels_per_voxel = pixels_per_mm(viewport) ** 2 * GRID.row_spacing * GRID.column_spacing
    for number in (1, 2):
        coloured = np.count_nonzero(inside == number)
        print(f"segment {number}: {coloured} coloured pixels in {picture}")
        assert coloured == pytest.approx(np.count_nonzero(truth == number) * pixels_per_voxel, rel=0.05)


def hues(picture: np.ndarray) -> np.ndarray:
    """0 where a pixel is grey or of the viewer's own blue, 1 where it is green (the kidney), 2 where it is red (the liver)."""
    coloured = picture.max(axis=-1) - picture.min(axis=-1) > 25
    return np.where(coloured, np.array([2, 1, 0])[picture.argmax(axis=-1)], 0)


def pixels_per_mm(viewport: dict[str, float]) -> float:
    """The image fills the viewport in one direction."""
    width, height = GRID.columns * GRID.column_spacing, GRID.rows * GRID.row_spacing
    return min(viewport["width"] / width, viewport["height"] / height)


def places(viewport: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the picture where the centres of the image's rows and columns are shown."""
    scale = pixels_per_mm(viewport)
    rows = (np.arange(GRID.rows) - (GRID.rows - 1) / 2) * GRID.row_spacing * scale
    columns = (np.arange(GRID.columns) - (GRID.columns - 1) / 2) * GRID.column_spacing * scale
    middle = viewport["y"] + viewport["height"] / 2, viewport["x"] + viewport["width"] / 2
    return np.floor(rows + middle[0]).astype(int), np.floor(columns + middle[1]).astype(int)
