"""Many studies: one unit of work that every engine runs, and what became of each.

`StudySegmenter` loads a bundle once and segments a study at a time. The command line runs it in its own process or on the workers of
Dask (`monai_dis.cohort.on_dask`); Ray and other engines map it over lists of studies.
"""

from monai_dis.cohort.manifest import Manifest
from monai_dis.cohort.record import StudyRecord
from monai_dis.cohort.study import CohortStudy, find_cohort
from monai_dis.cohort.unit import StudySegmenter, UnitSettings

__all__ = ["CohortStudy", "Manifest", "StudyRecord", "StudySegmenter", "UnitSettings", "find_cohort"]
