"""What a bundle says of itself in ``configs/metadata.json``, as a typed value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_dis.bundle.dicom_metadata import DicomEntry
from monai_dis.errors import BundleError

__all__ = ["BundleMetadata"]


@dataclass(frozen=True)
class BundleMetadata:
    """The part of a bundle's metadata that programs use; field names are those of MONAI's model zoo.

    Attributes:
        name: name for people.
        version: version of the bundle.
        task: one line, what it segments.
        description: a sentence or two.
        intended_use: what it may be used for.
        data_source: what it was trained on.
        modality: such as ``"RGB"`` or ``"CT"``.
        input_channels: channels of the network's input.
        smallest_mm: that a volume must have on one side at least, so that the network has more than one voxel to normalise.
        classes: names of the network's output channels, by channel index.
        dicom: which DICOM images it takes and the codes of its classes; None when it is not for DICOM.
        content: the whole file.
    """

    name: str
    version: str
    task: str = ""
    description: str = ""
    intended_use: str = ""
    data_source: str = ""
    modality: str = ""
    input_channels: int | None = None
    smallest_mm: float | None = None
    classes: Mapping[int, str] = field(default_factory=dict)
    dicom: DicomEntry | None = None
    content: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, bundle: Path) -> BundleMetadata:
        """Read the metadata of a bundle's folder.

        Raises:
            BundleError: when the file is missing, no JSON, or lacks the version or the format of input and output.
        """
        file = bundle / "configs" / "metadata.json"
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise BundleError(f"the bundle's metadata {file} cannot be read ({error.strerror}).") from error
        except ValueError as error:
            raise BundleError(
                f"the bundle's metadata {file} is not valid JSON ({error}); mend or restore it."
            ) from error
        try:
            formats = content["network_data_format"]
            image, pred = next(iter(formats["inputs"].values())), next(iter(formats["outputs"].values()))
            return cls(
                name=str(content.get("name", bundle.name)),
                version=str(content["version"]),
                task=str(content.get("task", "")),
                description=str(content.get("description", "")),
                intended_use=str(content.get("intended_use", "")),
                data_source=str(content.get("data_source", "")),
                modality=str(image.get("modality", "")),
                input_channels=int(image["num_channels"]),
                smallest_mm=float(image["smallest_extent_mm"]) if "smallest_extent_mm" in image else None,
                classes={int(index): str(label) for index, label in pred.get("channel_def", {}).items()},
                dicom=DicomEntry.read(content["dicom"]) if "dicom" in content else None,
                content=content,
            )
        except (AttributeError, KeyError, StopIteration, TypeError, ValueError) as error:
            raise BundleError(
                f"the bundle's metadata {file} lacks or misstates an entry ({type(error).__name__}: {error}); "
                "it needs version and network_data_format as MONAI's model zoo has them, and codes for each segment of a dicom entry."
            ) from error
