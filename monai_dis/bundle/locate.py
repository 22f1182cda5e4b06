"""Where bundles are: a folder of the user's, the clone's ``bundles/``, or those that a wheel carries."""

from __future__ import annotations

import difflib
from pathlib import Path

from monai_dis.errors import BundleError

__all__ = ["find_bundle", "known_bundles"]

_PACKAGE = Path(__file__).resolve().parents[1]
# In a clone the bundles lie beside the package; a wheel carries the same folders inside it.
_SHELVES = (_PACKAGE.parent / "bundles", _PACKAGE / "_bundles")


def known_bundles() -> dict[str, Path]:
    """Folders of the bundles that come with monai_dis, by name."""
    found: dict[str, Path] = {}
    for shelf in _SHELVES:
        for folder in sorted(shelf.glob("*")):
            if _is_bundle(folder):
                found.setdefault(folder.name, folder)
    return found


def find_bundle(name_or_folder: str | Path) -> Path:
    """Find a bundle by the folder it lies in, or by the name of one that comes with monai_dis.

    Args:
        name_or_folder: a folder with ``configs/metadata.json``, or a name such as ``"fundus_vessels_dis"``.

    Returns:
        The bundle's folder, absolute.

    Raises:
        BundleError: when there is neither such a folder nor such a name; the message lists the names there are.
    """
    folder = Path(name_or_folder).expanduser()
    if _is_bundle(folder):
        return folder.resolve()
    known = known_bundles()
    if str(name_or_folder) in known:
        return known[str(name_or_folder)]
    if folder.is_dir() and (len(folder.parts) > 1 or folder.is_absolute()):
        raise BundleError(f"the folder {folder} is not a bundle: it has no configs/metadata.json.")
    names = ", ".join(known) if known else "none are installed"
    near = difflib.get_close_matches(str(name_or_folder), known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise BundleError(
        f"there is no bundle {str(name_or_folder)!r}: give a bundle's folder, or one of the known names ({names}).{hint}"
    )


def _is_bundle(folder: Path) -> bool:
    return (folder / "configs" / "metadata.json").is_file()
