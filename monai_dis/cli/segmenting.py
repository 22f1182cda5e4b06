"""`monai-dis segment`: one run over images, slides and DICOM studies, here or on workers, with a line for each as it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from monai_dis.bundle import find_bundle
from monai_dis.cli.console import Advance, image_progress, out, plain, working
from monai_dis.cli.quiet import quiet_third_parties

if TYPE_CHECKING:
    from monai_dis.pipeline.options import Options, RunSettings
    from monai_dis.pipeline.record import Record
    from monai_dis.pipeline.report import Report, Shard
    from monai_dis.pipeline.run import Executor

__all__ = ["device_override", "run_segment"]


def run_segment(
    bundle: str,
    inputs: Sequence[Path],
    options: Options,
    overrides: Mapping[str, Any],
    *,
    shard: Shard | None = None,
    workers: int | None = None,
    cluster: str | None = None,
) -> None:
    """Segment with a bundle.

    Args:
        bundle: name or folder.
        inputs: image files, slides, DICOM studies, and folders of all of these.
        options: how studies are taken and what is written.
        overrides: entries of the bundle's inference config.
        shard: ``(i, n)`` to do the i-th of n shares.
        workers: number of processes to start here; None for this one.
        cluster: address or scheduler file of a cluster that exists, in place of them.

    Raises:
        DisError: at the end, when studies were refused or failed.
    """
    from monai_dis.pipeline.fingerprint import absolute
    from monai_dis.pipeline.options import RunSettings
    from monai_dis.pipeline.run import raise_failures, run

    quiet_third_parties()
    given = device_override(overrides)
    # Nothing may depend on the working folder: what is loaded late, such as ITK, changes it for a moment.
    output = absolute(given.pop("output_dir"))
    if given.get("runtime_cache"):
        given["runtime_cache"] = str(absolute(given["runtime_cache"]))
    settings = RunSettings(str(find_bundle(bundle)), given, options)
    with image_progress("segmenting") as advance:

        def on_record(done: int, total: int, record: Record) -> None:
            advance(done, total, "\n".join(_lines(record)))

        with _executor(settings, workers, cluster, advance) as (execute, about):
            report = run(
                [absolute(path) for path in inputs],
                output,
                execute,
                options=options,
                settings=about,
                shard=shard,
                on_record=on_record,
            )
    _print_summary(report)
    raise_failures(report)


@contextmanager
def _executor(
    settings: RunSettings, workers: int | None, cluster: str | None, advance: Advance
) -> Iterator[tuple[Executor, dict[str, Any]]]:
    """What segments, and what the report says of the settings."""
    if workers is None and cluster is None:
        from monai_dis.pipeline.model import Model
        from monai_dis.pipeline.run import in_this_process

        with working("loading the bundle"):
            model = Model.open(settings.bundle, settings.overrides)
        yield in_this_process(model, settings.options, advance.stage), dict(model.settings)
        return
    from dataclasses import replace

    from monai_dis.pipeline.on_dask import connected, local_cluster, on_workers, threads_each

    settings = replace(settings, threads=None if cluster else threads_each(workers or 1))
    opened: AbstractContextManager[Any] = connected(cluster) if cluster else local_cluster(workers or 1)
    with working("starting the workers"):
        client = opened.__enter__()
    try:
        yield on_workers(settings, client), {"mode": settings.overrides.get("mode", "dis")}
    finally:
        opened.__exit__(None, None, None)


def device_override(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Leave `auto` to the bundle's config, and refuse a device that is not there before anything is loaded.

    Raises:
        DisError: when the device is absent or unknown.
    """
    from monai_dis.pipeline.device import pick_device

    given = dict(overrides)
    device = given.pop("device", "auto")
    if device != "auto":
        given["device"] = str(pick_device(device))
    return given


def _lines(record: Record) -> Iterator[str]:
    """What became of a study, and what it is to be known of its input."""
    name = escape(plain(record.study))
    if record.status in ("refused", "failed", "crashed"):
        codes = ", ".join(each["code"] for each in record.findings if each["policy"] == "reject")
        yield f"[red]{record.status}[/red] {name}: {codes or escape(plain(str(record.reason)))}"
    elif record.status == "skipped":
        yield f"[dim]skipped[/dim] {name}: {escape(plain(str(record.reason)))}"
    elif record.kept:
        yield f"[dim]kept[/dim]   {name}: complete from an earlier run"
    else:
        entry = record.entry
        yield (
            f"[green]done[/green]   {name}: {entry['windows_refined']} of {entry['windows_total']} windows, "
            f"{entry['fraction_of_full_pass']:.0%} of a full pass, {entry['seconds']['total']:.1f} s"
        )
    for each in record.findings:
        if each["policy"] == "warn":
            yield f"       [yellow]warning[/yellow] {each['code']}: {escape(plain(each['message']))}"


def _print_summary(report: Report) -> None:
    summary = report.summary()
    counts = {
        "done": summary["done"],
        "kept": summary["kept"],
        "failed": summary["failed"],
        "skipped": summary.get("skipped", 0),
    }
    parts = [f"{count} {what}" for what, count in counts.items() if count or what == "done"]
    folder = escape(plain(str(report.path.parent)))
    where = f"{folder}/report.html and report.json" if report.shard is None else f"{folder}/{report.path.name}"
    out.print(f"{', '.join(parts)}; report in {where}", highlight=False)
