"""Groups of measurements in a DICOM report: what all have in common, and one for each object of a segment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monai_dis.bundle.dicom_metadata import Code, DicomEntry, SegmentEntry
from monai_dis.dicom.extra import require
from monai_dis.dicom.presentation import LONGEST_LO
from monai_dis.dicom.seg_object import tracking_identifier
from monai_dis.dicom.uids import ResultIdentity
from monai_dis.pipeline.objects import Found

__all__ = ["MILLILITRE", "MOST_GROUPS", "VOLUME", "concept", "described", "measurement", "object_groups"]

VOLUME = Code("118565006", "SCT", "Volume")
MILLILITRE = Code("mL", "UCUM", "mL")
_RATIO = Code("{0:1}", "UCUM", "range 0 to 1")
_YES, _NO = Code("373066001", "SCT", "Yes"), Code("373067005", "SCT", "No")
#: No standard terminology has words for these.
_CERTAINTY = Code("certainty", "99MONAIDIS", "Certainty (1 - mean entropy)")
_REFINED = Code("refined", "99MONAIDIS", "Refined at a finer level")

#: Objects that are described one by one: a reader of a report does not go through more.
MOST_GROUPS = 50
_NAME = LONGEST_LO - len(f" #{MOST_GROUPS}")


def concept(code: Code) -> Any:
    """A code as highdicom takes it."""
    return require("highdicom.sr").CodedConcept(code.value, code.scheme, code.meaning)


def measurement(name: Code, value: float, unit: Code) -> Any:
    """A number with its unit."""
    return require("highdicom.sr").Measurement(name=concept(name), value=float(f"{value:.8g}"), unit=concept(unit))


def described(segment: SegmentEntry, identity: ResultIdentity) -> Mapping[str, Any]:
    """What a group says of its finding: type, category, site, and by what it was found."""
    sr = require("highdicom.sr")
    site = sr.FindingSite(
        anatomic_location=concept(segment.region or segment.type),
        laterality=None if segment.modifier is None else concept(segment.modifier),
    )
    algorithm = sr.AlgorithmIdentification(
        name=identity.bundle,
        version=identity.version,
        parameters=[f"weights_sha256={identity.weights}", f"settings_sha256={identity.settings}"],
    )
    return {
        "finding_type": concept(segment.type),
        "finding_category": concept(segment.category),
        "finding_sites": [site],
        "algorithm_id": algorithm,
    }


def object_groups(
    objects: Sequence[Found], entry: DicomEntry, frame_of_reference: str, identity: ResultIdentity
) -> list[Any]:
    """A TID 1410 group for each of the largest objects: its middle in space, volume, certainty, and whether it was refined.

    Args:
        objects: of a volume, the largest first.
        entry: codes of the segments.
        frame_of_reference: of the images.
        identity: gives the tracking UIDs.
    """
    sr, groups, seen = require("highdicom.sr"), [], Counter[str]()
    numbers = {segment.label: number for number, segment in entry.segments.items()}
    for each in objects[:MOST_GROUPS]:
        number = numbers[each.name]
        seen[each.name] += 1
        assert each.ras_mm is not None, "only volumes have reports"
        right, front, up = each.ras_mm
        name = f"{tracking_identifier(entry.segments[number], number)[:_NAME]} #{seen[each.name]}"
        sure = [] if each.certainty is None else [measurement(_CERTAINTY, each.certainty, _RATIO)]
        groups.append(
            sr.PlanarROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=sr.TrackingIdentifier(
                    uid=identity.uid("tracking", f"{number} object {seen[each.name]}"), identifier=name
                ),
                referenced_region=sr.ImageRegion3D(
                    graphic_type="POINT",
                    graphic_data=np.array([[-right, -front, up]]),
                    frame_of_reference_uid=frame_of_reference,
                ),
                measurements=[measurement(VOLUME, each.size, MILLILITRE), *sure],
                qualitative_evaluations=[
                    sr.QualitativeEvaluation(name=concept(_REFINED), value=concept(_YES if each.refined else _NO))
                ],
                **described(entry.segments[number], identity),
            )
        )
    return groups
