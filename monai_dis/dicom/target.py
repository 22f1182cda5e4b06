"""What an input is meant for: the modalities, body parts and axes that a network takes."""

from __future__ import annotations

from dataclasses import dataclass

from monai_dis.bundle.metadata import BundleMetadata

__all__ = ["PHOTOGRAPHS", "Target"]

#: Modalities whose images are photographs: ophthalmic, dermoscopic, of external and internal parts of the body.
PHOTOGRAPHS = frozenset({"OP", "DMS", "XC", "ES"})
_COLOURS = 3


@dataclass(frozen=True)
class Target:
    """What a network takes.

    Attributes:
        modalities: values of Modality; empty to take any.
        body_parts: values of BodyPartExamined that fit; empty to take any.
        spatial_dims: 3 for volumes, 2 for slices.
        colour: whether photographs in colour are taken.
        smallest_mm: that one side of a volume must have, see `monai_dis.checks.size`.
    """

    modalities: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    spatial_dims: int = 3
    colour: bool = False
    smallest_mm: float | None = None

    @classmethod
    def of_bundle(cls, metadata: BundleMetadata) -> Target | None:
        """What a bundle's metadata say; None when the bundle is not for DICOM."""
        entry = metadata.dicom
        if entry is None:
            return None
        colour = metadata.input_channels == _COLOURS and entry.spatial_dims == 2
        return cls(entry.modalities, entry.body_parts, entry.spatial_dims, colour, metadata.smallest_mm)

    def takes(self, modality: str) -> bool:
        """Whether images of a modality fit."""
        return not self.modalities or modality in self.modalities
