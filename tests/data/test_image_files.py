"""Names of image files."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_dis.data.image_files import image_stem, image_suffix, list_images, segmentation_suffix


@pytest.mark.parametrize(
    ("name", "stem", "suffix", "output"),
    [
        pytest.param("photo.png", "photo", ".png", ".png", id="png"),
        pytest.param("photo.JPG", "photo", ".jpg", ".png", id="upper-case"),
        pytest.param("case.01.tiff", "case.01", ".tiff", ".png", id="dot-in-the-stem"),
        pytest.param("im0001.ah.ppm.gz", "im0001.ah", ".ppm.gz", ".png", id="gzipped-picture"),
        pytest.param("scan.nii.gz", "scan", ".nii.gz", ".nii.gz", id="double-suffix"),
        pytest.param("Scan.NII.GZ", "Scan", ".nii.gz", ".nii.gz", id="double-suffix-upper-case"),
        pytest.param("scan.nii", "scan", ".nii", ".nii", id="nifti"),
        pytest.param("scan.nrrd", "scan", ".nrrd", ".nrrd", id="nrrd"),
        pytest.param("scan.mhd", "scan", ".mhd", ".mha", id="two-files-become-one"),
        pytest.param("notes.txt", "notes", "", ".png", id="no-image"),
        pytest.param("archive.gz", "archive", "", ".png", id="gz-alone"),
        pytest.param(".png", ".png", "", ".png", id="hidden-file-without-stem"),
    ],
)
def test_stem_and_suffix(name: str, stem: str, suffix: str, output: str) -> None:
    path = Path("some.folder") / name
    assert (image_stem(path), image_suffix(path), segmentation_suffix(path)) == (stem, suffix, output)


def test_list_images_is_sorted_and_takes_images_only(tmp_path: Path) -> None:
    for name in ("b.png", "a.nii.gz", "Thumbs.db", ".c.png", "README.md"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in list_images(tmp_path)] == ["a.nii.gz", "b.png"]
