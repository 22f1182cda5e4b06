"""`monai-dis dicom check`: inspect an input and print what was found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from monai_dis.bundle import BundleMetadata, find_bundle, known_bundles
from monai_dis.cli.console import out, working
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.data.atomic import atomic_path
from monai_dis.errors import BundleError, DicomError, OutputError

__all__ = ["read_limits", "run_check"]

REJECTED = 3
_COLORS = {"accept": "green", "fix": "green", "warn": "yellow", "reject": "red"}


def run_check(
    source: Path,
    *,
    bundle: str | None,
    modality: str | None,
    body_part: str | None,
    json_file: Path | None,
    policies: Mapping[str, str],
    selection: Mapping[str, str],
    limits: Mapping[str, str],
) -> int:
    """Inspect an input.

    Args:
        source: the input.
        bundle: name or folder of the bundle that is to segment it.
        modality: wanted, where no bundle is given.
        body_part: wanted, where no bundle is given.
        json_file: where to write the result too.
        policies: changes of policy by code.
        selection: values that choose a volume or series.
        limits: changed limits by name.

    Returns:
        the exit status.
    """
    quiet_third_parties()
    from monai_dis.dicom.findings import read_policy
    from monai_dis.dicom.inspection import inspect
    from monai_dis.dicom.target import Target

    target = Target(modalities=(modality,) if modality else (), body_parts=(body_part.upper(),) if body_part else ())
    if bundle is not None:
        metadata = BundleMetadata.read(find_bundle(bundle))
        of_bundle = Target.of_bundle(metadata)
        if of_bundle is None:
            raise BundleError(f"the bundle {metadata.name} says nothing about DICOM; its metadata have no dicom entry.")
        target = of_bundle
    with (
        working("reading headers"),
        inspect(
            source, target, limits=read_limits(limits), policies=read_policy(policies), selection=selection
        ) as inspection,
    ):
        report = inspection.to_dict()
    if bundle is None:
        report["bundles"] = {name: _fit(folder, report) for name, folder in known_bundles().items()}
    _print(report)
    if json_file is not None:
        _write(report, json_file)
    return REJECTED if report["verdict"] == "reject" else 0


def read_limits(changes: Mapping[str, str]) -> Any:
    """Limits with those of the command line in place.

    Raises:
        DicomError: when a limit is unknown or no number.
    """
    from monai_dis.dicom.limits import Limits

    try:
        return Limits().changed({name: int(value) for name, value in changes.items()})
    except ValueError as error:
        if isinstance(error, DicomError):
            raise
        raise DicomError("a limit must be a whole number, such as --limit frames=5000.") from None


def _fit(folder: Path, report: Mapping[str, Any]) -> str:
    """Whether a bundle could segment the input, in words."""
    try:
        entry = BundleMetadata.read(folder).dicom
    except BundleError:
        return "its metadata cannot be read"
    if entry is None:
        return "not for DICOM"
    modalities = {each["modality"] for each in report["series"]}
    if not modalities & set(entry.modalities):
        return f"takes {' or '.join(entry.modalities)}"
    return "rejected, see the findings" if report["verdict"] == "reject" else "fits"


def _print(report: Mapping[str, Any]) -> None:
    verdict = report["verdict"]
    out.print(f"[{_COLORS[verdict]}]{verdict}[/]")
    for finding in report["findings"]:
        color, count = _COLORS[finding["policy"]], finding["instances"]
        times = f" ({count}x)" if count > 1 else ""
        out.print(
            f"  [{color}]{finding['policy']:6}[/] {finding['code']}: {escape(finding['message'])}{times}",
            highlight=False,
        )
    if report["series"]:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("series", "modality", "images", "spacing (mm)", "verdict"):
            table.add_column(column)
        for each in report["series"]:
            spacing = " x ".join(f"{value:.4g}" for value in each["spacing_mm"] or ()) or "-"
            table.add_row(str(each["number"]), each["modality"], str(each["images"]), spacing, each["verdict"])
        out.print(table)
    for volume in report["volumes"]:
        size = " x ".join(str(number) for number in volume["shape_columns_rows_slices"])
        out.print(f"a segmentation would receive {size} voxels", highlight=False)
    for name, fit in report.get("bundles", {}).items():
        out.print(f"  {name}: {fit}", highlight=False)


def _write(report: Mapping[str, Any], path: Path) -> None:
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}); choose another file.") from error
