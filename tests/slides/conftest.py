"""Fixtures of this folder."""

import pytest
from slide_files import slide_bundle

for package in ("tifffile", "imagecodecs", "zarr", "openslide", "shapely"):
    pytest.importorskip(package, reason="needs the extra slides")

__all__ = ["slide_bundle"]
