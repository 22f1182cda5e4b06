"""From whatever a user gives to results in a folder: studies are found, named, read, answered, recorded and written in one place.

Read it in this order: `model` (a bundle in use), `study` (what a study is; its kinds are `image_study`, `monai_dis.slides.study` and
`monai_dis.dicom.study`), `find`, `naming`, `ledger`, `steps` (read, work, write), `run`. The command line, a bundle's ``inference``
config (`Segmenter`), several workers (`on_dask`) and your own scheduler (`StudySegmenter`) all go through `steps`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai_dis.lazy import lazy_names

if TYPE_CHECKING:
    from monai_dis.pipeline.find import find_studies
    from monai_dis.pipeline.ledger import Ledger
    from monai_dis.pipeline.model import Model
    from monai_dis.pipeline.options import Options, RunSettings
    from monai_dis.pipeline.record import Record
    from monai_dis.pipeline.segmenter import Segmenter
    from monai_dis.pipeline.study import register_kind
    from monai_dis.pipeline.study_segmenter import StudySegmenter

__all__ = [
    "Ledger",
    "Model",
    "Options",
    "Record",
    "RunSettings",
    "Segmenter",
    "StudySegmenter",
    "find_studies",
    "register_kind",
]

_HOMES = {
    "Ledger": "ledger",
    "Model": "model",
    "Options": "options",
    "Record": "record",
    "RunSettings": "options",
    "Segmenter": "segmenter",
    "StudySegmenter": "study_segmenter",
    "find_studies": "find",
    "register_kind": "study",
}

__getattr__ = lazy_names(__name__, _HOMES)
