"""Names of version 0.1: what stood here is `monai_dis.pipeline` now. They work for one version, with a warning."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

_NOW = {
    "CohortStudy": "Study",
    "Manifest": "Ledger",
    "StudyRecord": "Record",
    "StudySegmenter": "StudySegmenter",
    "UnitSettings": "RunSettings",
    "find_cohort": "find_studies",
}


def __getattr__(name: str) -> Any:
    if name in _NOW:
        now = _NOW[name]
        warnings.warn(
            f"monai_dis.cohort.{name} is monai_dis.pipeline.{now} now; change the import.",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(import_module("monai_dis.pipeline.study" if now == "Study" else "monai_dis.pipeline"), now)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
