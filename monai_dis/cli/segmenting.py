"""`monai-dis segment`: the bundle's own segmenter, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape

from monai_dis.bundle import BundleMetadata, find_bundle, load_bundle
from monai_dis.cli.console import image_progress, out, working
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.errors import DicomError

__all__ = ["DicomOptions", "device_override", "run_segment"]


@dataclass(frozen=True)
class DicomOptions:
    """Options of the command line for DICOM inputs, as they were given.

    Attributes:
        format: of the results; None for the default.
        policies: by code.
        selection: by keyword.
        limits: by name.
    """

    format: str | None = None
    policies: Mapping[str, str] = field(default_factory=dict)
    selection: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.format or self.policies or self.selection or self.limits)


def run_segment(bundle: str, images: Sequence[Path], dicom: DicomOptions, overrides: Mapping[str, Any]) -> None:
    """Segment with a bundle.

    Args:
        bundle: name or folder.
        images: image files, folders of images, DICOM studies.
        dicom: options for DICOM studies.
        overrides: entries of its inference config, from the command line.

    Raises:
        DicomError: when images and studies are given at once, or options for studies without a study.
    """
    from monai_dis.dicom.sources import is_dicom_input

    studies = [path for path in images if is_dicom_input(path)]
    if studies and len(studies) < len(images):
        raise DicomError(
            "DICOM studies and other images cannot be segmented in one run; give them one after the other."
        )
    if dicom and not studies:
        raise DicomError(
            "--format, --policy, --select and --limit are for DICOM studies, and there is none in the input."
        )
    folder = find_bundle(bundle)
    quiet_third_parties()
    files = [] if studies else [str(path) for path in images]
    with working("loading the bundle"):
        loaded = load_bundle(folder, "inference", device_override({**overrides, "image_files": files}))
        segmenter = loaded.part("evaluator")
    with image_progress("segmenting") as advance:

        def on_image(done: int, total: int, entry: Mapping[str, Any]) -> None:
            advance(done, total, _line(entry))

        if studies:
            report = _segment_studies(segmenter, loaded.metadata, studies, dicom, on_image)
        else:
            segmenter.on_image = on_image
            report = segmenter.run()
    if studies:
        out.print(f"report in {escape(str(overrides['output_dir']))}/report.json", highlight=False)
        return
    summary = report["summary"]
    kept = f", {summary['kept']} kept" if summary["kept"] else ""
    out.print(
        f"{summary['done']} done{kept}; report in {escape(str(overrides['output_dir']))}/report.html and report.json",
        highlight=False,
    )


def _segment_studies(
    segmenter: Any,
    metadata: BundleMetadata,
    studies: Sequence[Path],
    options: DicomOptions,
    on_image: Callable[[int, int, Mapping[str, Any]], None],
) -> dict[str, Any]:
    from monai_dis.cli.dicom_checking import read_limits
    from monai_dis.dicom.findings import read_policy
    from monai_dis.dicom.segmenting import DicomSegmenter, DicomSettings, ResultFormat

    settings = DicomSettings(
        format=ResultFormat(options.format or ResultFormat.SEG),
        limits=read_limits(options.limits),
        policies=read_policy(options.policies),
        selection=options.selection,
    )
    runner = DicomSegmenter(segmenter, metadata, settings)
    runner.on_image = on_image
    return runner.run(studies)


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
