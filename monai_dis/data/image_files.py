"""Names of image files: which suffixes are read, and what an image is called without its suffix."""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "IMAGE_SUFFIXES",
    "PICTURE_SUFFIXES",
    "VOLUME_SUFFIXES",
    "image_stem",
    "image_suffix",
    "list_images",
    "segmentation_suffix",
]

#: Flat pictures, read with Pillow. The last ones are those in which public data sets are given out.
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm", ".ppm.gz", ".pgm.gz")

#: Images with a geometry in space.
VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")

#: Everything that is read, in lower case; suffixes in files may be in any case.
IMAGE_SUFFIXES = PICTURE_SUFFIXES + VOLUME_SUFFIXES


def image_suffix(path: str | Path) -> str:
    """Suffix of an image file in lower case, double suffixes whole; empty when it is none that is read.

    Example:
        >>> image_suffix("scan.NII.GZ"), image_suffix("photo.JPG"), image_suffix("notes.txt")
        ('.nii.gz', '.jpg', '')
    """
    name = Path(path).name.lower()
    return max((suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix) and name != suffix), key=len, default="")


def image_stem(path: str | Path) -> str:
    """Name of an image file without folder and suffix.

    Example:
        >>> image_stem("a/scan.v2.nii.gz"), image_stem("photo.JPG"), image_stem("notes.txt")
        ('scan.v2', 'photo', 'notes')
    """
    name, suffix = Path(path).name, image_suffix(path)
    return name[: -len(suffix)] if suffix else Path(name).stem


def segmentation_suffix(path: str | Path) -> str:
    """Suffix of the segmentation of an image: PNG for a picture, the image's own format for a volume.

    Example:
        >>> segmentation_suffix("photo.JPG"), segmentation_suffix("scan.nii.gz"), segmentation_suffix("scan.mhd")
        ('.png', '.nii.gz', '.mha')
    """
    suffix = image_suffix(path)
    if suffix in VOLUME_SUFFIXES:
        return ".mha" if suffix == ".mhd" else suffix  # an .mhd is two files, which cannot be renamed at once
    return ".png"


def list_images(folder: str | Path) -> list[Path]:
    """Image files of a folder, sorted by name; hidden files and files of other kinds are passed over."""
    return sorted(p for p in Path(folder).iterdir() if p.is_file() and not p.name.startswith(".") and image_suffix(p))
