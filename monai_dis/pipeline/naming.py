"""Who gets which output name: decided once, against the inputs, the results that are there, and other runs.

A study's files begin with its stem. A stem belongs to one place for good; another place of the same name gets ``_2``, ``_3``...
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping

__all__ = ["choose_stems", "mask_name", "safe_stem", "stems_of_files"]

#: Bytes of a stem: a file name may have 255, of which suffixes and the names of classes need their share.
_LONGEST = 150
_DIGEST = 8
_ENDINGS = r"(?:seg(?:_\d+-[a-z0-9-]*)?|overlay|outlines)\.(?:png|nii|nii\.gz|nrrd|mha|ome\.tif|geojson)"
_OUTPUT = re.compile(rf"(.+)_{_ENDINGS}", re.IGNORECASE | re.DOTALL)


def choose_stems(
    wanted: Mapping[str, str], claimed: Mapping[str, str], files: Iterable[str] = (), inputs: Iterable[str] = ()
) -> dict[str, str]:
    """Give each place a stem that no other place has, has had, or would overwrite a file with.

    Args:
        wanted: the stem that each place would have if it were alone.
        claimed: stems of places by earlier runs, or by others at work; a place keeps its own.
        files: names of the files in the output folder.
        inputs: names of those among them that this run reads: they are not overwritten, whoever wrote them.

    Returns:
        a stem for each place of ``wanted``, in its order.

    Example:
        >>> choose_stems({"a/eye.png": "eye", "b/eye.png": "eye"}, {}, files=["eye_2_seg.png"])
        {'a/eye.png': 'eye', 'b/eye.png': 'eye_3'}
        >>> choose_stems({"b/eye.png": "eye"}, {"a/eye.png": "eye"})
        {'b/eye.png': 'eye_2'}
    """
    # Letters that differ in their case alone are one name to some file systems.
    read = stems_of_files(inputs)
    keeping = {p: claimed[p] for p in wanted if p in claimed and claimed[p].casefold() not in read}
    used = {stem.casefold() for stem in claimed.values()} | stems_of_files(files) | read
    chosen: dict[str, str] = {}
    for place, stem in wanted.items():
        chosen[place] = keeping[place] if place in keeping else _free(safe_stem(stem), used)
        used.add(chosen[place].casefold())
    return chosen


def stems_of_files(names: Iterable[str]) -> set[str]:
    """The stems, in lower case, whose results have these file names.

    Example:
        >>> sorted(stems_of_files(["Eye_seg.png", "eye_seg_1-optic-disc.png", "scan_overlay.png", "eye_segment.png", "notes.txt"]))
        ['eye', 'scan']
    """
    return {found[1].casefold() for found in map(_OUTPUT.fullmatch, names) if found is not None}


def safe_stem(stem: str) -> str:
    """A stem that every file system and library takes: no bytes outside UTF-8, no control characters, of bounded length.

    Example:
        >>> safe_stem("scan v2 #7"), len(safe_stem("m" * 240))
        ('scan v2 #7', 150)
        >>> safe_stem("m" * 240) == safe_stem("m" * 239 + "n")
        False
    """
    plain = "".join("_" if not c.isprintable() or c in '/\\:*?"<>|' else c for c in stem).strip() or "image"
    if plain.startswith("."):
        plain = f"_{plain[1:]}"
    encoded = plain.encode()
    if len(encoded) <= _LONGEST:
        return plain
    mark = hashlib.sha256(stem.encode(errors="surrogateescape")).hexdigest()[:_DIGEST]
    return f"{encoded[: _LONGEST - _DIGEST - 1].decode(errors='ignore')}-{mark}"


def mask_name(stem: str, index: int, label: str, suffix: str) -> str:
    """Name of the file of one of several overlapping classes.

    Example:
        >>> mask_name("fundus_seg", 2, "Hard exudates", ".png")
        'fundus_seg_2-hard-exudates.png'
    """
    word = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
    return f"{stem}_{index}-{word}{suffix}"


def _free(stem: str, used: Collection[str]) -> str:
    number, name = 1, stem
    while name.casefold() in used:
        number += 1
        name = f"{stem}_{number}"
    return name
