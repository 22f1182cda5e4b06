"""What a run is told besides its bundle and its inputs: how studies are taken, and what is written of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from monai_dis.checks.findings import Policy, read_policy
from monai_dis.checks.limits import Limits
from monai_dis.errors import DicomError

__all__ = ["FORMATS", "Options", "RunSettings"]

#: What can be written for a DICOM study, see `monai_dis.dicom.result_files.ResultFormat`.
FORMATS = ("seg", "labelmap", "nifti", "nrrd")


@dataclass(frozen=True)
class Options:
    """How studies are taken and what is written; the same for every kind of study and every way to run.

    Attributes:
        format: of the result of a DICOM study, one of `FORMATS`; None for SEG.
        uncertainty: also say how certain each object is, and for a DICOM study write what was refined and what stays uncertain.
        selection: values that choose one of several volumes or series of a DICOM study.
        policies: a site's changes of what is done about a finding, by its code.
        limits: sizes beyond which an input is refused.
        statement: in the descriptions of DICOM results, in place of the statement of research use; None for that.
        tiled: read every image that is no DICOM from disk piece by piece, however small.
        scene: of a slide with several, its number from 1, or ``"all"``; None where each has one.
    """

    format: str | None = None
    uncertainty: bool = False
    selection: Mapping[str, str] = field(default_factory=dict)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    statement: str | None = None
    tiled: bool = False
    scene: str | None = None

    @classmethod
    def of_words(
        cls,
        *,
        format: str | None = None,
        policies: Mapping[str, str] | None = None,
        limits: Mapping[str, str | int] | None = None,
        **others: Any,
    ) -> Options:
        """Options from plain words, as a command line or a config has them.

        Raises:
            DicomError: when a format, code, policy or limit is unknown.
        """
        if format is not None and format not in FORMATS:
            raise DicomError(f"the format must be one of {', '.join(FORMATS)}, got {format!r}.")
        if (scene := others.get("scene")) is not None and scene != "all" and not (scene.isdecimal() and int(scene) > 0):
            raise DicomError(f"the scene is {scene!r}; give its number, from 1, or all.")
        return cls(format=format, policies=read_policy(policies or {}), limits=Limits.of_words(limits or {}), **others)

    @property
    def for_dicom_alone(self) -> bool:
        """Whether something was asked for that only a DICOM study can have."""
        return bool(self.format or self.selection)

    def described(self) -> dict[str, Any]:
        """What results depend on, in plain JSON types."""
        own: dict[str, Any] = {
            "format": self.format or "seg",
            "policies": {code: policy.value for code, policy in sorted(self.policies.items())},
        }
        if self.uncertainty:
            own["uncertainty"] = True
        return own


@dataclass(frozen=True)
class RunSettings:
    """What a run is made from: a few words, so that it travels to a worker, which loads the weights itself.

    Attributes:
        bundle: name or folder.
        overrides: entries of the bundle's ``inference`` config to replace, in plain JSON types.
        options: how studies are taken and what is written.
        threads: of the processor; None leaves PyTorch's choice.
    """

    bundle: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    threads: int | None = None
