"""`monai-dis segment`: the bundle's own segmenter, with a progress bar."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.markup import escape

from monai_dis.bundle import find_bundle, load_bundle
from monai_dis.cli.console import image_progress, out, working
from monai_dis.cli.quiet import quiet_third_parties

__all__ = ["device_override", "run_segment"]


def run_segment(bundle: str, overrides: Mapping[str, Any]) -> None:
    """Segment with a bundle.

    Args:
        bundle: name or folder.
        overrides: entries of its inference config, from the command line.
    """
    folder = find_bundle(bundle)
    quiet_third_parties()
    with working("loading the bundle"):
        loaded = load_bundle(folder, "inference", device_override(overrides))
        segmenter = loaded.part("evaluator")
    with image_progress("segmenting") as advance:

        def on_image(done: int, total: int, entry: Mapping[str, Any]) -> None:
            advance(done, total, _line(entry))

        segmenter.on_image = on_image
        report = segmenter.run()
    summary = report["summary"]
    kept = f", {summary['kept']} kept" if summary["kept"] else ""
    out.print(
        f"{summary['done']} done{kept}; report in {escape(str(overrides['output_dir']))}/report.html and report.json",
        highlight=False,
    )


def device_override(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Leave `auto` to the bundle's config, and refuse a device that is not there before anything is loaded.

    Raises:
        DisError: when the device is absent or unknown.
    """
    from monai_dis.engines.device import pick_device

    given = dict(overrides)
    device = given.pop("device", "auto")
    if device != "auto":
        given["device"] = str(pick_device(device))
    return given


def _line(entry: Mapping[str, Any]) -> str:
    name = escape(Path(entry["input"]).name)
    if "error" in entry:
        return f"[red]failed[/red] {name}"
    if entry.get("kept"):
        return f"[dim]kept[/dim]   {name}: complete from an earlier run"
    return (
        f"[green]done[/green]   {name}: {entry['windows_refined']} of {entry['windows_total']} windows, "
        f"{entry['fraction_of_full_pass']:.0%} of a full pass, {entry['seconds']['total']:.1f} s"
    )
