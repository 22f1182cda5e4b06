"""Files with several scenes: listed, chosen, or all done; depths and times are refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from command_line import call
from slide_files import slide_bundle, spots

from monai_dis.errors import DicomError, ImageError
from monai_dis.pipeline.options import Options
from monai_dis.slides.opening import count_scenes, open_slide

__all__ = ["slide_bundle"]


def scenes() -> list[np.ndarray]:
    return [spots(320, 280), spots(300, 300), spots(60, 50)]  # the last is a thumbnail


def ome_tiff(folder: Path) -> Path:
    path = folder / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for number, values in enumerate(scenes()):
            file.write(values, tile=(128, 128), photometric="rgb", metadata={"axes": "YXS", "Name": f"piece {number}"})
    return path


def bioformats2raw(folder: Path) -> Path:
    path = folder / "a.zarr"
    root = zarr.open_group(str(path), mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    for number, values in enumerate(scenes()[:2]):
        group = root.create_group(str(number))
        group.create_array("0", data=np.ascontiguousarray(values.transpose(2, 0, 1)), chunks=(3, 128, 128))
        axes = [{"name": a} for a in "cyx"]
        group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    return path


@pytest.mark.parametrize("make", [ome_tiff, bioformats2raw])
def test_scenes_are_listed_and_chosen(make: object, tmp_path: Path) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    assert count_scenes(path) == 2
    with pytest.raises(ImageError, match=r"2 scenes \(1: .*, 2: .*\); choose one with --scene NUMBER, or all"):
        open_slide(path)
    with pytest.raises(ImageError, match="there is no scene 3"):
        open_slide(path, 3)
    for number, values in enumerate(scenes()[:2], start=1):
        columns, rows = values.shape[1::-1]
        read = open_slide(path, number).read(0, (0, 0), (columns, rows))
        assert np.array_equal(read, values.transpose(2, 1, 0))


@pytest.mark.parametrize("make", [ome_tiff, bioformats2raw])
def test_the_program_does_one_or_all(make: object, slide_bundle: Path, tmp_path: Path) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    out = tmp_path / "out"
    command = ["segment", path, "-b", slide_bundle, "-o", out, "--device", "cpu"]
    assert call(*command) == 1
    assert call(*command, "--scene", "2") == 0
    assert [each.name for each in out.glob("*_seg.ome.tif")] == ["a_scene2_seg.ome.tif"]
    assert call(*command, "--scene", "all") == 0
    sizes = {each.name: tifffile.imread(each).shape for each in out.glob("*_seg.ome.tif")}
    assert sizes == {"a_scene1_seg.ome.tif": (280, 320), "a_scene2_seg.ome.tif": (300, 300)}


@pytest.mark.parametrize(("axes", "words"), [("ZYX", r"4 depths \(Z\)"), ("TYX", r"4 times \(T\)")])
def test_depths_and_times_are_refused_by_name(axes: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    planes = np.zeros((4, 64, 64), np.uint8)
    tifffile.imwrite(path, planes, tile=(16, 16), photometric="minisblack", metadata={"axes": axes})
    with pytest.raises(ImageError, match=f"{words}; a slide is one plane at one time"):
        open_slide(path)


@pytest.mark.parametrize("word", ["0", "-1", "first", ""])
def test_a_scene_is_a_number_or_all(word: str) -> None:
    with pytest.raises(DicomError, match="give its number"):
        Options.of_words(scene=word)
