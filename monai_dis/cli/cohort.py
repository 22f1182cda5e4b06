"""`monai-dis segment` with several workers: a line for each study as it ends, a manifest, and a summary."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from monai_dis.cli.console import image_progress, out, working
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.cli.segmenting import DicomOptions, device_override, dicom_settings
from monai_dis.data.atomic import atomic_path
from monai_dis.errors import DisError

if TYPE_CHECKING:
    from monai_dis.cohort import StudyRecord

__all__ = ["run_cohort"]

SUMMARY_NAME = "summary.json"


def run_cohort(
    bundle: str,
    inputs: Sequence[Path],
    dicom: DicomOptions,
    overrides: Mapping[str, Any],
    *,
    workers: int | None,
    cluster: str | None,
    share: float | None,
    slide: bool = False,
) -> None:
    """Segment studies on the workers of a cluster.

    Args:
        bundle: name or folder.
        inputs: image files, folders of images, DICOM studies and trees of them.
        dicom: options for DICOM studies.
        overrides: entries of the bundle's inference config.
        workers: number of processes to start here.
        cluster: address or scheduler file of a cluster that exists, in place of them.
        share: of the full passes of all studies together; None for the bundle's own budget for each.
        slide: whether all images are slides, however small.

    Raises:
        DisError: when a study failed or killed its workers; those that were refused with a reason are no failure.
    """
    quiet_third_parties()
    from monai_dis.bundle import find_bundle
    from monai_dis.cohort import UnitSettings, find_cohort
    from monai_dis.cohort.on_dask import connected, local_cluster, run_on_dask, threads_each
    from monai_dis.engines.output_folder import prepare_folder

    given = device_override(overrides)
    output = prepare_folder(given.pop("output_dir")).absolute()
    cohort = find_cohort([path.expanduser().absolute() for path in inputs], leave_out=output, slides=slide)
    settings = UnitSettings(
        str(find_bundle(bundle)), given, dicom_settings(dicom), None if cluster else threads_each(workers or 1)
    )
    start, records = time.monotonic(), []
    with working("starting the workers"):
        opened: AbstractContextManager[Any] = connected(cluster) if cluster else local_cluster(workers or 1)
        client = opened.__enter__()
    try:
        with image_progress("segmenting") as advance:
            records = run_on_dask(
                cohort, settings, output, client, lambda done, total, record: advance(done, total, _line(record)), share
            )
    finally:
        opened.__exit__(None, None, None)
    summary = _summary(records, time.monotonic() - start)
    with atomic_path(output / SUMMARY_NAME) as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    counts = ", ".join(f"{count} {status}" for status, count in summary["studies"].items())
    out.print(f"{counts}; {escape(str(output))}/manifest.jsonl and {SUMMARY_NAME}", highlight=False)
    bad = [str(record.reason) for record in records if record.status in ("failed", "crashed")]
    if bad:
        raise DisError("\n".join([f"{len(bad)} of {len(records)} studies failed:", *(f"  {each}" for each in bad)]))


def _summary(records: Sequence[StudyRecord], seconds: float) -> dict[str, Any]:
    done = [record for record in records if record.status == "done"]
    return {
        "studies": dict(sorted(Counter("kept" if r.kept else r.status for r in records).items())),
        "seconds": round(seconds, 3),
        "seconds_of_studies": round(sum(record.seconds.get("total", 0.0) for record in done), 3),
        "operations": sum(record.operations for record in done),
        "reasons": {record.study: record.reason for record in records if record.reason},
    }


def _line(record: StudyRecord) -> str:
    name = escape(record.study)
    if record.kept:
        return f"[dim]kept[/dim]    {name}: {record.status} by an earlier run"
    if record.status == "done":
        return f"[green]done[/green]    {name}: {record.seconds.get('total', 0.0):.1f} s"
    return f"[red]{record.status}[/red] {name}: {escape(str(record.reason))}"
