"""The findings of I23 for NIfTI, NRRD and MetaImage files that are segmented beside DICOM."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monai_dis.data.image_files import VOLUME_SUFFIXES, image_suffix
from monai_dis.dicom.findings import Policy, apply_policy, merged, verdict
from monai_dis.dicom.limits import Limits
from monai_dis.dicom.volume_files import inspect_volume_file
from monai_dis.errors import ImageError

__all__ = ["volume_check"]


def volume_check(
    limits: Limits, policies: Mapping[str, Policy], channels: int | None = None
) -> Callable[[Path], dict[str, Any]]:
    """Make the check of an image file that a segmenter calls before it reads one.

    Args:
        limits: on sizes.
        policies: a site's changes.
        channels: that the network takes; a file of so many volumes is an image of so many channels.

    Returns:
        a function from a file to what the report says of it; raises ImageError for a file that is rejected. Pictures, which have no
        place in space, and files that are not there are left to their reader.
    """

    def check(path: Path) -> dict[str, Any]:
        if image_suffix(path) not in VOLUME_SUFFIXES or not path.is_file() or not path.stat().st_size:
            return {}
        _, found = inspect_volume_file(path, limits)
        as_channels = [each for each in found if each.code == "VOLUME_MULTIPLE" and each.instances == channels]
        findings = merged(apply_policy([each for each in found if each not in as_channels], policies))
        if verdict(findings) is Policy.REJECT:
            rejected = "; ".join(f"{each.code}: {each.message}" for each in findings if each.policy is Policy.REJECT)
            raise ImageError(f"{path} is rejected: {rejected}")
        return {"verdict": verdict(findings).value, "findings": [each.to_dict() for each in findings]}

    return check
