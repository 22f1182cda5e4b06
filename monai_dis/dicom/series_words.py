"""What a series is called where a user has to tell it from others: its description, its plane, and whether it is a scout.

A description is free text, in which some sites write a name: words that also stand in the header's names and numbers of persons
are left out, and so are long numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from monai_dis.data.coordinates import angle_degrees
from monai_dis.dicom.geometry import Vector
from monai_dis.dicom.instance import Instance
from monai_dis.dicom.values import text, texts

__all__ = ["described", "is_derived", "is_scout", "plane_of"]

_LONGEST = 40
_PERSONAL = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "ReferringPhysicianName", "AccessionNumber",
    "InstitutionName", "StudyID",
)  # fmt: skip
_WORD = re.compile(r"[^\W_]+")
_LONG_NUMBER = re.compile(r"\d{5,}")
_SCOUT_WORDS = re.compile(
    r"(?<![a-z])(loc|localiz\w*|localis\w*|scouts?|scano\w*|survey|surview|topogram\w*|three[ _-]?plane|3[ _-]?(plane|pl)|pilot)(?![a-z])",
    re.IGNORECASE,
)
_MOST_SCOUTS = 30  # images of a series that is a scout by its description alone
_OBLIQUE_DEGREES = 10.0
_PLANES = ("sagittal", "coronal", "axial")


def described(image: Instance) -> str:
    """Series Description of an image, else its Protocol Name, without what may be a person's; empty when there is none."""
    personal = {
        word.casefold() for keyword in _PERSONAL for word in _WORD.findall(text(image.header, keyword)) if len(word) > 2
    }
    found = text(image.header, "SeriesDescription") or text(image.header, "ProtocolName")
    if "�" in found or not found.isprintable():
        return ""
    shown = _WORD.sub(lambda match: "..." if match.group().casefold() in personal else match.group(), found)
    return _LONG_NUMBER.sub("...", shown)[:_LONGEST].strip()


def is_scout(images: Sequence[Instance]) -> bool:
    """Whether a series is a scout: by ImageType of all its images, or by its description where it has few."""
    if all("LOCALIZER" in texts(image.header, "ImageType") for image in images):
        return True
    words = " ".join(text(images[0].header, keyword) for keyword in ("SeriesDescription", "ProtocolName"))
    return len(images) <= _MOST_SCOUTS and _SCOUT_WORDS.search(words) is not None


def is_derived(images: Sequence[Instance]) -> bool:
    """Whether all images of a series were computed from other images, such as reformats and maps (value 1 of ImageType)."""
    return all(texts(image.header, "ImageType")[:1] == ("DERIVED",) for image in images)


def plane_of(normal: Vector) -> str:
    """Which plane of the body a slice shows, in one or two words.

    Args:
        normal: (3,) of the plane, of length 1, in LPS coordinates.

    Example:
        >>> plane_of(np.array([0.0, 0.0, 1.0])), plane_of(np.array([0.0, 0.6, 0.8]))
        ('axial', 'oblique axial')
    """
    axis = int(np.argmax(np.abs(normal)))
    lean = angle_degrees(normal, np.eye(3)[axis])
    oblique = "oblique " if min(lean, 180 - lean) > _OBLIQUE_DEGREES else ""
    return f"{oblique}{_PLANES[axis]}"
