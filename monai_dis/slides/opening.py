"""Which files are slides, and opening one with the reader of its kind."""

from __future__ import annotations

from pathlib import Path

from monai_dis.errors import ImageError
from monai_dis.slides.pyramid import Pyramid
from monai_dis.slides.scenes import chosen_scene

__all__ = ["SLIDE_PIXELS", "count_scenes", "is_slide", "open_slide", "slide_stem"]

#: A tiled or pyramidal TIFF of more pixels than this is read from disk piece by piece; a smaller one is read whole.
SLIDE_PIXELS = 1 << 26  # 8,192 x 8,192

_SCANNERS = (".ndpi", ".mrxs", ".vms", ".vmu", ".scn", ".bif", ".svslide")
_TIFFS = (".tif", ".tiff", ".svs", ".btf", ".tf8")


def is_slide(path: str | Path) -> bool:
    """Whether an input is read as a slide by itself: by its kind (SVS, OME-Zarr, files of scanners), or as a large tiled TIFF.

    A TIFF's header is looked at, no pixel; one that cannot be opened, or for which tifffile is missing, is no slide.
    """
    path = Path(path)
    name = path.name.lower()
    if name.endswith((".svs", ".zarr", *_SCANNERS)):
        return True
    if not name.endswith(_TIFFS) or not path.is_file():
        return False
    try:
        import tifffile

        with tifffile.TiffFile(path) as file:
            sizes = [each.levels[0].keyframe for each in file.series]
            page = max(sizes, key=lambda each: int(each.imagewidth) * int(each.imagelength))
            large = int(page.imagewidth) * int(page.imagelength) > SLIDE_PIXELS
            return large and (page.is_tiled or any(len(each.levels) > 1 for each in file.series))
    except Exception:  # whoever reads it says what is wrong
        return False


def count_scenes(path: str | Path) -> int:
    """How many scenes a slide holds; 1 where that cannot be told: whoever opens it says what is wrong."""
    path = Path(path)
    try:
        if path.is_dir():
            from monai_dis.slides.ome_zarr import zarr_scenes

            return zarr_scenes(path)
        if path.name.lower().endswith(_TIFFS):
            import tifffile

            from monai_dis.slides.tiff_series import slide_scenes

            with tifffile.TiffFile(path) as file:
                return len(slide_scenes(file))
    except Exception:
        return 1
    return 1


def open_slide(path: str | Path, scene: int | None = None) -> Pyramid:
    """Open a slide; nothing but its header is read.

    Args:
        path: the file or folder.
        scene: which of several, from 1.

    Raises:
        ImageError: when it is missing, empty, damaged, or of a kind that is not read, or a package is not installed.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise ImageError(f"there is no file {path}; check the path.")
    name = path.name.lower()
    if path.is_dir():
        from monai_dis.slides.ome_zarr import ZarrPyramid, is_zarr

        if not is_zarr(path):
            raise ImageError(f"{path} is a folder; give a slide.")
        return ZarrPyramid(path, scene)
    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty (0 bytes); get a new copy of it.")
    if name.endswith(_TIFFS):
        from monai_dis.slides.tiff import TiffPyramid

        stored = TiffPyramid(path, scene)
        if stored.orientation not in range(2, 9):
            return stored
        from monai_dis.slides.turned import TurnedPyramid

        return TurnedPyramid(stored, stored.orientation)
    if name.endswith(_SCANNERS):
        from monai_dis.slides.scanner_files import ScannerPyramid

        chosen_scene(path, [path], scene, lambda each: each.name)
        return ScannerPyramid(path)
    raise ImageError(f"{path} is no slide that is read; give one of {', '.join((*_TIFFS, '.zarr', *_SCANNERS))}.")


def slide_stem(path: str | Path) -> str:
    """Name of a slide without folder and suffix.

    Example:
        >>> slide_stem("a/kidney.ome.tif"), slide_stem("b/kidney.SVS"), slide_stem("kidney.ome.zarr")
        ('kidney', 'kidney', 'kidney')
    """
    stem = Path(path).stem
    return stem[:-4] if stem.lower().endswith(".ome") else stem
