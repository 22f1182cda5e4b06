"""Keep third parties' notices off the terminal, where they would bury what matters."""

from __future__ import annotations

import logging
import os
import warnings

__all__ = ["quiet_third_parties"]

_LOUD_LOGGERS = (
    "monai",
    "monai.bundle",
    "monai.bundle.scripts",
    "monai.bundle.workflows",
    "monai.data.nvimgcodec_pydicom_plugin",
    "ignite",
    "PIL",
    "matplotlib",
    "nibabel",
    "nibabel.global",
)


def quiet_third_parties() -> None:
    """Silence warnings of libraries and the loggers that report what cannot be helped; errors still come through."""
    # ITK and image libraries print from C++ or at import.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore")
    for name in _LOUD_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
