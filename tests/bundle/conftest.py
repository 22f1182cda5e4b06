"""Fixtures of this folder."""

from small_bundle import photo, tiny_bundle

__all__ = ["photo", "tiny_bundle"]
