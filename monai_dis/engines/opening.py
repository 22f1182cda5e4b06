"""Open a bundle for segmenting: one of ours as it is, one made for MONAI alone with a segmenter of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_dis.bundle import Bundle, load_bundle
from monai_dis.bundle.foreign import is_foreign
from monai_dis.engines.segment import Segmenter

__all__ = ["open_segmenter"]

# What a run is told from outside; a bundle of ours has an entry for each in its config.
_OPTIONS = (
    "image_files", "output_dir", "mode", "windows", "coverage", "operations", "overlap", "device", "overwrite",
    "runtime", "runtime_cache",
)  # fmt: skip


def open_segmenter(folder: Path, overrides: Mapping[str, Any]) -> tuple[Bundle, Segmenter]:
    """The bundle of a folder, and its segmenter.

    Args:
        folder: of the bundle.
        overrides: entries of its ``inference`` config.

    Raises:
        BundleError: when it cannot be opened.
    """
    if not is_foreign(load_bundle(folder, "inference")):
        ours = load_bundle(folder, "inference", overrides)
        segmenter: Segmenter = ours.part("evaluator")
        return ours, segmenter
    from monai_dis.engines.foreign import foreign_segmenter

    options = {key: value for key, value in overrides.items() if key in _OPTIONS}
    theirs = load_bundle(folder, "inference", {k: v for k, v in overrides.items() if k not in _OPTIONS})
    return theirs, foreign_segmenter(theirs, options)
