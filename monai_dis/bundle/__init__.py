"""Bundles: finding one by name or folder, what its metadata says, and its parts made from its config.

A bundle's config is code (``_target_`` and ``$`` expressions are evaluated): run only bundles that you trust.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from monai_dis.bundle.loading import Bundle, load_bundle
from monai_dis.bundle.locate import find_bundle, known_bundles
from monai_dis.bundle.metadata import BundleMetadata

if TYPE_CHECKING:
    from monai_dis.bundle.weights import load_weights, weights_digest

__all__ = [
    "Bundle",
    "BundleMetadata",
    "find_bundle",
    "known_bundles",
    "load_bundle",
    "load_weights",
    "weights_digest",
]


def __getattr__(name: str) -> Any:
    # Finding a bundle needs no torch, so weights come in when they are asked for.
    if name in ("load_weights", "weights_digest"):
        return getattr(import_module("monai_dis.bundle.weights"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
