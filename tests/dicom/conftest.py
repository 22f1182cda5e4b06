"""Everything here needs the extra `dicom`."""

import pytest

pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from dicom_study import volume_bundle
from small_bundle import photo, tiny_bundle

__all__ = ["photo", "tiny_bundle", "volume_bundle"]
