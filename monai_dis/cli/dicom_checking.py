"""`monai-dis dicom check`: inspect the studies of an input and print what was found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_dis.bundle import BundleMetadata, find_bundle, known_bundles
from monai_dis.cli.check_tables import print_checks
from monai_dis.cli.console import working
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.data.atomic import atomic_path
from monai_dis.errors import BundleError, OutputError

if TYPE_CHECKING:
    from monai_dis.dicom.target import Target

__all__ = ["run_check"]

REJECTED = 3


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
    from monai_dis.checks.findings import read_policy
    from monai_dis.checks.limits import Limits
    from monai_dis.dicom.study_check import check_studies, report_of
    from monai_dis.dicom.target import PHOTOGRAPHS, Target

    target = Target(
        modalities=(modality,) if modality else (),
        body_parts=(body_part.upper(),) if body_part else (),
        colour=modality is None or modality in PHOTOGRAPHS,
    )
    others: dict[str, Target | None] = {}
    if bundle is not None:
        target = _target_of(find_bundle(bundle))
    else:
        others = {name: _target_or_none(folder) for name, folder in known_bundles().items()}
    bounds, changes = Limits.of_words(limits), read_policy(policies)
    checks = []
    with working("reading headers"):
        for check in check_studies(source, target, others, limits=bounds, policies=changes, selection=selection):
            checks.append(check)
    report = report_of(checks)
    print_checks(checks)
    if json_file is not None:
        _write(report, json_file)
    return REJECTED if report["verdict"] == "reject" else 0


def _target_of(folder: Path) -> Target:
    from monai_dis.dicom.target import Target

    metadata = BundleMetadata.read(folder)
    target = Target.of_bundle(metadata)
    if target is None:
        raise BundleError(f"the bundle {metadata.name} says nothing about DICOM; its metadata have no dicom entry.")
    return target


def _target_or_none(folder: Path) -> Target | None:
    try:
        return _target_of(folder)
    except BundleError:
        return None


def _write(report: Mapping[str, Any], path: Path) -> None:
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}); choose another file.") from error
