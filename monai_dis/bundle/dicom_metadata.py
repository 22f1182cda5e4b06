"""The ``dicom`` entry of a bundle's metadata: which images it takes, and the codes of what it segments.

.. code-block:: json

    "dicom": {
      "modalities": ["CT"],
      "body_parts": ["ABDOMEN"],
      "segments": {
        "1": {
          "label": "Right kidney",
          "category": {"value": "123037004", "scheme": "SCT", "meaning": "Anatomical structure"},
          "type": {"value": "64033007", "scheme": "SCT", "meaning": "Kidney"},
          "modifier": {"value": "24028007", "scheme": "SCT", "meaning": "Right"},
          "color": [185, 102, 83]
        }
      }
    }
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Code", "DicomEntry", "SegmentEntry"]

_EMPTY_POLICIES = ("keep", "omit")


@dataclass(frozen=True)
class Code:
    """A coded concept, such as ``10200004, SCT, Liver``."""

    value: str
    scheme: str
    meaning: str

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Code:
        """Read a code.

        Raises:
            KeyError: when a part is missing.
        """
        return cls(str(content["value"]), str(content["scheme"]), str(content["meaning"]))


@dataclass(frozen=True)
class SegmentEntry:
    """What one class of the network is, in words and codes.

    Attributes:
        label: in words.
        category: such as Anatomical structure.
        type: such as Kidney.
        modifier: laterality; None where there is none.
        region: anatomic region, for things that are found in an organ; None where the type is the organ.
        color: red, green, blue, 0 to 255, recommended for display.
    """

    label: str
    category: Code
    type: Code
    modifier: Code | None = None
    region: Code | None = None
    color: tuple[int, int, int] | None = None

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> SegmentEntry:
        """Read the entry of one class.

        Raises:
            KeyError: when a part is missing.
            ValueError: when the colour is none.
        """
        optional = {key: Code.read(content[key]) if key in content else None for key in ("modifier", "region")}
        color = tuple(int(part) for part in content["color"]) if "color" in content else None
        if color is not None and (len(color) != 3 or not all(0 <= part <= 255 for part in color)):
            raise ValueError("color must be three numbers from 0 to 255")
        return cls(
            label=str(content["label"]),
            category=Code.read(content["category"]),
            type=Code.read(content["type"]),
            modifier=optional["modifier"],
            region=optional["region"],
            color=None if color is None else (color[0], color[1], color[2]),
        )


@dataclass(frozen=True)
class DicomEntry:
    """What a bundle says for DICOM.

    Attributes:
        modalities: values of Modality that it takes.
        segments: by class index, from 1.
        body_parts: values of BodyPartExamined that it was made for; empty for any.
        spatial_dims: 3 for volumes, 2 for single slices.
        empty: ``"keep"`` to write a SEG when nothing was found, with one empty frame; ``"omit"`` to write none.
    """

    modalities: tuple[str, ...]
    segments: Mapping[int, SegmentEntry]
    body_parts: tuple[str, ...] = ()
    spatial_dims: int = 3
    empty: str = field(default="keep")

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> DicomEntry:
        """Read the ``dicom`` entry.

        Raises:
            KeyError: when a part is missing.
            ValueError: when a part cannot be what it is.
        """
        segments = {int(index): SegmentEntry.read(segment) for index, segment in content["segments"].items()}
        if sorted(segments) != list(range(1, len(segments) + 1)) or not segments:
            raise ValueError("segments must be numbered from 1 without gaps")
        empty = str(content.get("empty", "keep"))
        if empty not in _EMPTY_POLICIES:
            raise ValueError(f"empty must be one of {', '.join(_EMPTY_POLICIES)}")
        return cls(
            modalities=tuple(str(modality) for modality in content["modalities"]),
            segments=dict(sorted(segments.items())),
            body_parts=tuple(str(part).upper() for part in content.get("body_parts", ())),
            spatial_dims=int(content.get("spatial_dims", 3)),
            empty=empty,
        )
