"""Everything here needs the extra `dicom`."""

import pytest

pytest.importorskip("pydicom")
pytest.importorskip("highdicom")
