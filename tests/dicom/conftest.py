"""Everything here needs the extra `dicom`."""

import pytest

pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from dicom_study import overlapping_bundle, volume_bundle
from small_bundle import photo, tiny_bundle

__all__ = ["overlapping_bundle", "photo", "tiny_bundle", "volume_bundle"]
