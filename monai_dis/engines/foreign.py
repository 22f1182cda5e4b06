"""Running a bundle of MONAI's model zoo as if it had been made for us."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai_dis.bundle.foreign import foreign_parts
from monai_dis.bundle.loading import Bundle
from monai_dis.engines.segment import Segmenter

__all__ = ["foreign_segmenter"]


def foreign_segmenter(bundle: Bundle, options: Mapping[str, Any]) -> Segmenter:
    """A segmenter for a bundle whose config names none.

    Args:
        bundle: with its inference config.
        options: arguments of `Segmenter` besides the bundle's parts: images, output folder, mode, budget, device.

    Returns:
        The segmenter. Its mode ``"sliding-window"`` is the bundle's own sliding window, at the bundle's overlap.

    Raises:
        BundleError: see `monai_dis.bundle.foreign.foreign_parts`.
        DisError: when an option cannot be used.
    """
    parts = foreign_parts(bundle)
    given = dict(options)
    if given.get("mode") == "sliding-window" and given.get("overlap") is None:
        given["overlap"] = parts.overlap
    classes = bundle.metadata.classes
    # The background has no place in the legend, unless it is all there is.
    names: dict[int | str, str] = {i: name for i, name in classes.items() if i > 0 or len(classes) == 1}
    return Segmenter(
        parts.network, parts.inferer, parts.preprocessing, parts.postprocessing, label_names=names, **given
    )
