"""Small decisions of the reading desk: which bundles, and what is said of errors."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from monai_dis.bundle import find_bundle, known_bundles
from monai_dis.errors import BundleError, DisError

__all__ = ["choose_models", "strip_paths"]


def choose_models(asked: str) -> dict[str, Path]:
    """The bundles of a server, by name.

    Args:
        asked: names or folders, divided by commas; empty for every bundle that comes with monai_dis and has its weights.

    Raises:
        BundleError: when one is not there, two have the same name, or none has weights.
    """
    if not asked.strip():
        found = {name: folder for name, folder in known_bundles().items() if (folder / "models" / "model.pt").is_file()}
        if not found:
            raise BundleError("no bundle with weights comes with this installation; give one: --bundle FOLDER.")
        return found
    chosen: dict[str, Path] = {}
    for each in filter(None, (part.strip() for part in asked.split(","))):
        folder = find_bundle(each)
        if folder.name in chosen:
            raise BundleError(f"two bundles are called {folder.name}; rename the folder of one of them.")
        chosen[folder.name] = folder
    return chosen


def strip_paths(error: DisError, *paths: Path, labels: Iterable[Path] = ()) -> DisError:
    """The same error without the places and names of files, which may be a person's.

    Args:
        error: whose sentence it is.
        paths: of images.
        labels: of their labels.
    """
    names = {**dict.fromkeys(map(str, paths), "the image"), **dict.fromkeys(map(str, labels), "the label")}
    sentence = str(error)
    for path in sorted(names, key=len, reverse=True):
        sentence = sentence.replace(path, names[path])
    return type(error)(sentence)
