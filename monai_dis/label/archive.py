"""The series of a DICOMweb archive that the bundles of a server are made for, and the words by which a reader knows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from monai_dis.label.model import LabelModel

__all__ = ["fits", "series_of", "series_words"]

_MODALITY, _BODY_PART, _SERIES = "00080060", "00180015", "0020000E"
_ASKED = ("BodyPartExamined", "SeriesDescription", "ProtocolName", "SeriesNumber")


def series_of(client: Any, models: Iterable[LabelModel]) -> list[str]:
    """UIDs of the series that one of the models is made for, by modality and body part.

    Args:
        client: of `dicomweb_client`.
        models: of the server; CT and MR are looked for where none says what it takes.
    """
    entries = [model.metadata.dicom for model in models]
    wanted: dict[str, list[tuple[str, ...]]] = {}
    for entry in entries:
        for modality in ("CT", "MR") if entry is None else entry.modalities:
            wanted.setdefault(modality, []).append(() if entry is None else entry.body_parts)
    found: dict[str, None] = {}
    for modality, parts in wanted.items():
        for data in client.search_for_series(search_filters={"Modality": modality}, fields=_ASKED):
            if fits(_text(data, _BODY_PART), parts):
                found[_text(data, _SERIES)] = None
    return list(found)


def fits(body_part: str, wanted: Iterable[Iterable[str]]) -> bool:
    """Whether a series of a body part is for one of some models; one that does not say what it shows is for all.

    Example:
        >>> fits("CHEST", [("ABDOMEN",)]), fits("", [("ABDOMEN",)]), fits("CHEST", [("ABDOMEN",), ()])
        (False, True, True)
    """
    said = body_part.strip().upper()
    return not said or any(not list(parts) or said in {part.upper() for part in parts} for parts in wanted)


def series_words(folder: Path) -> dict[str, str]:
    """What a reader knows a series by: description, protocol, body part, plane; of a series on disk.

    Returns:
        DICOM keywords and ``plane``; what the series does not say is left out.
    """
    import pydicom

    from monai_dis.dicom.series_words import plane_of

    file = min(each for each in folder.iterdir() if each.is_file())
    header = pydicom.dcmread(file, stop_before_pixels=True, force=True)
    said = {key: str(header.get(key, "") or "").strip() for key in (*_ASKED, "Modality", "StudyInstanceUID")}
    orientation = header.get("ImageOrientationPatient")
    if orientation is not None and len(orientation) == 6:
        said["plane"] = plane_of(np.cross(*np.asarray(orientation, dtype=np.float64).reshape(2, 3)))
    return {key: value for key, value in said.items() if value}


def _text(data: Mapping[str, Any], tag: str) -> str:
    values = data.get(tag, {}).get("Value") or [""]
    return str(values[0])
