"""A study as it is segmented: inspected, with the values of its volume and the header that its results take over."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from monai_dis.checks.findings import CODES, Finding
from monai_dis.checks.limits import Limits
from monai_dis.dicom.extra import discreet
from monai_dis.dicom.inspection import Inspection
from monai_dis.dicom.photographs import read_photograph
from monai_dis.dicom.pixels import read_volume
from monai_dis.dicom.source_images import read_first_header
from monai_dis.dicom.volume_plan import VolumePlan
from monai_dis.errors import DicomError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["LoadedStudy", "load_study", "volume_of"]


@dataclass(frozen=True)
class LoadedStudy:
    """What segmenting and writing need of a study; its files are not needed any more.

    Attributes:
        plan: the volume.
        values: (columns, rows, slices) float32; (3, columns, rows, 1) of a photograph.
        source: whole header of the first image.
        findings: about the input.
        seconds: for reading.
    """

    plan: VolumePlan
    values: npt.NDArray[np.float32] = field(repr=False)
    source: Dataset = field(repr=False)
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def relaxed(self) -> tuple[str, ...]:
        """Codes of findings that a site let pass."""
        own = {each.code for each in self.findings if each.policy.strictness < CODES[each.code].strictness}
        # These two are fixed exactly in some cases, by leaving out scouts or by a selection.
        return tuple(sorted(own - {"ORIENTATION_MIXED", "VOLUME_MULTIPLE"}))

    @property
    def may_be_shown(self) -> bool:
        """Whether a picture may be made: not of images with burned-in text."""
        return not any(each.code == "BURNED_IN_ANNOTATION" for each in self.findings)


def volume_of(found: Inspection) -> VolumePlan:
    """The volume of an inspection.

    Raises:
        DicomError: when the input is rejected or no DICOM.
    """
    found.raise_if_rejected()
    plan = found.volumes[0]
    if not isinstance(plan, VolumePlan):
        raise DicomError("the input is no DICOM series; give it without --format.")
    return plan


def load_study(plan: VolumePlan, found: Inspection, limits: Limits, since: float) -> LoadedStudy:
    """Read a volume while its inspection is open.

    Args:
        plan: of the inspection.
        found: the inspection.
        limits: the same as for the inspection.
        since: when reading began, by `time.perf_counter`.

    Raises:
        DicomError: when pixels cannot be decoded.
    """
    with discreet():
        values = read_photograph(plan, limits) if plan.photograph else read_volume(plan, limits)
        source = read_first_header(plan, limits)
    return LoadedStudy(plan, values, source, found.findings, time.perf_counter() - since)
