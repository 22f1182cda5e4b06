"""What a volume file's first bytes tell that its readers would not: a wrong suffix, lengths in other units than mm."""

from __future__ import annotations

import re
from pathlib import Path

from monai_dis.data.image_files import image_suffix
from monai_dis.errors import ImageError

__all__ = ["check_first_bytes", "nrrd_units"]

_GZIP = b"\x1f\x8b"
_HEAD = 1 << 14
_MM = {"mm", "millimeter", "millimetre", "millimeters", "millimetres", ""}


def check_first_bytes(path: Path) -> None:
    """Refuse a volume that readers take in different ways: nibabel by its suffix, ITK by its content, neither by its units.

    Raises:
        ImageError: with what to do.
    """
    suffix = image_suffix(path)
    if suffix not in (".nii", ".nii.gz", ".nrrd"):
        return
    with path.open("rb") as file:
        head = file.read(_HEAD)
    zipped = head.startswith(_GZIP)
    if suffix == ".nii" and zipped:
        raise ImageError(f"{path} is gzipped, and its name says that it is not; rename it to {path.name}.gz.")
    if suffix == ".nii.gz" and not zipped and _is_nifti(head):
        raise ImageError(f"{path} is not gzipped, and its name says that it is; rename it to {path.name[:-3]}.")
    if suffix == ".nrrd" and (units := nrrd_units(head)) - _MM:
        raise ImageError(
            f"{path} measures space in {', '.join(sorted(units))}, which readers take for mm; convert its space directions and origin."
        )


def nrrd_units(head: bytes) -> set[str]:
    """The units of an NRRD header's ``space units``, in lower case; empty without any."""
    found = re.search(rb"^space units:\s*(.*)$", head.split(b"\n\n")[0], re.MULTILINE | re.IGNORECASE)
    return set() if found is None else {unit.decode("latin-1").lower() for unit in re.findall(rb'"([^"]*)"', found[1])}


def _is_nifti(head: bytes) -> bool:
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")
