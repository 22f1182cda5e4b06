"""The one check of an image file's header, before it is read: geometry, units, scaling and claimed sizes, by a site's policies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_dis.checks.findings import Finding, Policy, apply_policy, finding, merged, verdict
from monai_dis.checks.limits import Limits
from monai_dis.checks.size import check_extent
from monai_dis.checks.volume_files import inspect_volume_file
from monai_dis.data.image_files import VOLUME_SUFFIXES, image_suffix
from monai_dis.errors import ImageError

__all__ = ["check_header", "turned_picture"]

_ORIENTATION = 0x0112  # tag of TIFF and EXIF
_BYTES_A_PIXEL = 4  # the most that a decoded pixel takes: RGBA


def check_header(
    path: Path,
    limits: Limits,
    policies: Mapping[str, Policy],
    channels: int | None = None,
    smallest_mm: float | None = None,
) -> dict[str, Any]:
    """Check the header of an image file; files that are not there, empty or of no known kind are left to their reader.

    Args:
        path: a picture or a volume.
        limits: on sizes.
        policies: a site's changes.
        channels: that the network takes; a file of so many volumes is an image of so many channels.
        smallest_mm: that one side of a volume must have, see `monai_dis.checks.size`.

    Returns:
        what the report says: ``verdict`` and ``findings``; nothing of a picture without findings, which has no place in space.

    Raises:
        ImageError: when the file is rejected; the message names the codes.
    """
    if not image_suffix(path) or not path.is_file() or not path.stat().st_size:
        return {}
    volume = image_suffix(path) in VOLUME_SUFFIXES
    found = _volume(path, limits, smallest_mm) if volume else _picture(path, limits)
    as_channels = [each for each in found if each.code == "VOLUME_MULTIPLE" and each.instances == channels]
    findings = merged(apply_policy([each for each in found if each not in as_channels], policies))
    if verdict(findings) is Policy.REJECT:
        rejected = "; ".join(f"{each.code}: {each.message}" for each in findings if each.policy is Policy.REJECT)
        raise ImageError(f"{path} is rejected: {rejected}")
    if not volume and not findings:
        return {}
    return {"verdict": verdict(findings).value, "findings": [each.to_dict() for each in findings]}


def _volume(path: Path, limits: Limits, smallest_mm: float | None) -> list[Finding]:
    volume, found = inspect_volume_file(path, limits)
    return found if volume is None else [*found, *check_extent(volume.shape, volume.affine_lps, smallest_mm)]


def _picture(path: Path, limits: Limits) -> list[Finding]:
    size = path.stat().st_size
    if size > limits.file_bytes:
        return [
            finding("LIMIT_EXCEEDED", f"the file has {size} bytes, more than the limit file_bytes={limits.file_bytes}.")
        ]
    from PIL import Image

    try:
        with Image.open(path) as picture:
            claimed = picture.width * picture.height * _BYTES_A_PIXEL
    except Exception:  # whoever reads it says what is wrong
        return []
    if claimed > limits.volume_bytes:
        return [finding("LIMIT_EXCEEDED", f"the header of a file of {size} bytes claims {claimed} bytes of pixels.")]
    return turned_picture(path)


def turned_picture(path: Path) -> list[Finding]:
    """What is to be known of a picture that its file wants to be shown turned."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            orientation = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # whoever reads it says what is wrong
        return []
    if orientation not in range(2, 9):
        return []
    message = (
        f"the file is to be shown turned or mirrored (orientation {orientation}); its segmentation is turned likewise."
    )
    return [finding("PICTURE_TURNED", message)]
