"""What `monai-dis dicom check` prints: verdict, findings and series of each study, and the bundles that could segment it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from monai_dis.cli.console import out

if TYPE_CHECKING:
    from monai_dis.checks.findings import Finding
    from monai_dis.dicom.inspection import Inspection
    from monai_dis.dicom.study_check import StudyCheck

__all__ = ["print_checks"]

_COLORS = {"accept": "green", "fix": "green", "warn": "yellow", "reject": "red"}


def print_checks(checks: Sequence[StudyCheck]) -> None:
    """Print each study, and of several how many could be segmented."""
    for check in checks:
        verdict = check.found.verdict.value
        name = f"{escape(check.study.label)}: " if len(checks) > 1 else ""
        out.print(f"{name}[{_COLORS[verdict]}]{verdict}[/]", highlight=False)
        _print_findings(check.found.findings)
        _print_series(check.found)
        for bundle in check.bundles:
            out.print(f"  {bundle}: {_fit(check, bundle)}", highlight=False)
    if len(checks) > 1:
        _print_totals(checks)


def _print_findings(findings: Sequence[Finding]) -> None:
    for each in findings:
        times = f" ({each.instances}x)" if each.instances > 1 else ""
        policy = each.policy.value
        out.print(
            f"  [{_COLORS[policy]}]{policy:6}[/] {each.code}: {escape(each.message)}{times}",
            highlight=False,
        )


def _print_series(found: Inspection) -> None:
    if found.series:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("series", "description", "modality", "plane", "images", "spacing (mm)", "verdict"):
            table.add_column(column)
        for each in found.series:
            spacing = " x ".join(f"{value:.4g}" for value in each.spacing_mm or ()) or "-"
            words = (escape(each.description) or "-", each.modality, each.plane or "-")
            table.add_row(str(each.number), *words, str(each.images), spacing, each.verdict.value)
        out.print(table)
    for volume in found.volumes:
        size = " x ".join(map(str, volume.to_dict()["shape_columns_rows_slices"]))
        out.print(f"a segmentation would receive {size} voxels", highlight=False)


def _fit(check: StudyCheck, bundle: str) -> str:
    """Whether a bundle could segment a study, in words; what is said of the study already is not said again."""
    reasons = check.why_not(bundle)
    if reasons is None:
        return "not for DICOM"
    if not reasons:
        return "[green]fits[/]"
    own = [f"{each.code}: {escape(each.message)}" for each in reasons if each not in check.found.findings]
    return "[red]no[/], " + ("; ".join(own) or "see the findings")


def _print_totals(checks: Sequence[StudyCheck]) -> None:
    total, usable = len(checks), sum(check.found.verdict.value != "reject" for check in checks)
    out.print(f"{usable} of {total} studies can be segmented", highlight=False)
    for bundle in dict.fromkeys(name for check in checks for name in check.bundles):
        fitting = sum(check.why_not(bundle) == () for check in checks if bundle in check.bundles)
        out.print(f"  {bundle}: {fitting} of {total}", highlight=False)
