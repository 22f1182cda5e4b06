"""`monai-dis segment`: the bundle's own segmenter, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from monai_dis.bundle import BundleMetadata, find_bundle
from monai_dis.cli.console import image_progress, out, slide_progress, working
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.errors import DicomError, DisError, OutputError

if TYPE_CHECKING:
    from monai_dis.dicom.segmenting import DicomSettings

__all__ = ["DicomOptions", "device_override", "dicom_settings", "run_segment"]

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class DicomOptions:
    """Options of the command line for DICOM inputs, as they were given.

    Attributes:
        format: of the results; None for the default.
        uncertainty: whether what stays uncertain is written too.
        policies: by code; those of volume files count for them too.
        selection: by keyword.
        limits: by name, likewise.
    """

    format: str | None = None
    uncertainty: bool = False
    policies: Mapping[str, str] = field(default_factory=dict)
    selection: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)


def run_segment(
    bundle: str,
    images: Sequence[Path],
    dicom: DicomOptions,
    overrides: Mapping[str, Any],
    *,
    shard: tuple[int, int] | None = None,
    slide: bool = False,
) -> None:
    """Segment with a bundle: image files first, then slides, then DICOM studies.

    Args:
        bundle: name or folder.
        images: image files, folders of images, DICOM studies and trees of them.
        dicom: options for DICOM studies.
        overrides: entries of its inference config, from the command line.
        shard: ``(i, n)`` to do the i-th of n shares.
        slide: whether all images are slides, however small.

    Raises:
        DicomError: when options for studies are given without a study.
        DisError: at the end, when images or studies failed.
    """
    from monai_dis.dicom.sources import is_dicom_input

    studies = [path for path in images if is_dicom_input(path)]
    slides, files = _apart([path for path in images if path not in studies], slide)
    _check_options(dicom, studies, files)
    folder = find_bundle(bundle)
    quiet_third_parties()
    with working("loading the bundle"):
        given = {**overrides, "image_files": [str(path) for path in files]}
        from monai_dis.engines.opening import open_segmenter
        from monai_dis.engines.run_report import report_name

        loaded, segmenter = open_segmenter(folder, device_override(given))
    segmenter.shard = shard
    errors: list[DisError] = []
    entries: list[Entry] = []

    def on_image(done: int, total: int, entry: Entry) -> None:
        entries.append(entry)
        advance(done, total, _line(entry))

    before: list[Any] = []
    with image_progress("segmenting") as advance:
        if files:
            segmenter.on_image, segmenter.check_file = on_image, _file_check(dicom, loaded.metadata)
            try:
                segmenter.run()
            except OutputError:
                raise
            except DisError as error:
                errors.append(error)
            before = segmenter.entries
    if slides:
        try:
            _segment_slides(segmenter, slides, entries, before)
        except OutputError:
            raise
        except DisError as error:
            errors.append(error)
    with image_progress("segmenting") as advance:
        if studies:
            try:
                _segment_studies(segmenter, loaded.metadata, studies, dicom, on_image, shard, before)
            except OutputError:
                raise
            except DisError as error:
                errors.append(error)
    if studies or not errors:
        name = report_name(shard)
        _print_summary(entries, Path(str(overrides["output_dir"])), name, page=not studies and shard is None)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise DisError("\n".join(str(error) for error in errors))


def _check_options(dicom: DicomOptions, studies: Sequence[Path], files: Sequence[Path]) -> None:
    from monai_dis.data.image_files import VOLUME_SUFFIXES, image_suffix

    volumes = any(path.is_dir() or image_suffix(path) in VOLUME_SUFFIXES for path in files)
    only_studies = bool(dicom.format or dicom.uncertainty or dicom.selection)
    volumes_too = bool(dicom.policies or dicom.limits)
    if not studies and (only_studies or (volumes_too and not volumes)):
        raise DicomError(
            "--format, --uncertainty, --policy, --select and --limit are for DICOM studies, and there is none in the input."
        )


def _file_check(dicom: DicomOptions, metadata: BundleMetadata) -> Callable[[Path], dict[str, Any]]:
    from monai_dis.cli.dicom_checking import read_limits
    from monai_dis.dicom.findings import read_policy
    from monai_dis.dicom.volume_check import volume_check

    return volume_check(read_limits(dicom.limits), read_policy(dicom.policies), metadata.input_channels)


def _apart(images: Sequence[Path], slide: bool) -> tuple[list[Path], list[Path]]:
    """Slides and other images; a folder with slides in it is replaced by its images."""
    from monai_dis.data.image_files import list_images
    from monai_dis.slides.opening import is_slide

    if slide:
        return list(images), []
    slides, files = [], []
    for path in images:
        found = [path] if is_slide(path) else []
        others = [path]
        if not found and path.is_dir():
            inside = sorted(each for each in path.iterdir() if not each.name.startswith("."))
            found = [each for each in inside if is_slide(each)]
            if found:
                others = [each for each in list_images(path) if each not in found]
        slides += found
        files += [] if found == [path] else others
    return slides, files


def _segment_slides(segmenter: Any, slides: Sequence[Path], entries: list[Entry], before: list[Any]) -> None:
    from monai_dis.slides.segmenting import SlideSegmenter

    runner = SlideSegmenter(segmenter)

    def on_image(done: int, total: int, entry: Entry) -> None:
        entries.append(entry)
        out.print(_line(entry), highlight=False)

    with slide_progress() as stage:
        runner.on_image, runner.on_stage = on_image, stage
        try:
            runner.run(slides, before=list(before))
        finally:
            before[:] = runner.entries


def _segment_studies(
    segmenter: Any,
    metadata: BundleMetadata,
    studies: Sequence[Path],
    options: DicomOptions,
    on_image: Callable[[int, int, Entry], None],
    shard: tuple[int, int] | None,
    before: Sequence[Any],
) -> None:
    from monai_dis.dicom.segmenting import DicomSegmenter

    runner = DicomSegmenter(segmenter, metadata, dicom_settings(options, shard))
    runner.on_image = on_image
    runner.run(studies, before=before)


def dicom_settings(options: DicomOptions, shard: tuple[int, int] | None = None) -> DicomSettings:
    """What the options of the command line mean.

    Raises:
        DicomError: when one is unknown.
    """
    from monai_dis.cli.dicom_checking import read_limits
    from monai_dis.dicom.findings import read_policy
    from monai_dis.dicom.segmenting import DicomSettings, ResultFormat

    return DicomSettings(
        format=ResultFormat(options.format or ResultFormat.SEG),
        limits=read_limits(options.limits),
        policies=read_policy(options.policies),
        selection=options.selection,
        uncertainty=options.uncertainty,
        shard=shard,
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


def _line(entry: Entry) -> str:
    name = escape(entry.get("study") or Path(entry["input"]).name)
    if "error" in entry:
        codes = [each["code"] for each in entry.get("findings", ()) if each["policy"] == "reject"]
        return f"[red]failed[/red] {name}{': ' + ', '.join(codes) if codes else ''}"
    if entry.get("kept"):
        return f"[dim]kept[/dim]   {name}: complete from an earlier run"
    return (
        f"[green]done[/green]   {name}: {entry['windows_refined']} of {entry['windows_total']} windows, "
        f"{entry['fraction_of_full_pass']:.0%} of a full pass, {entry['seconds']['total']:.1f} s"
    )


def _print_summary(entries: Sequence[Entry], folder: Path, name: str, *, page: bool) -> None:
    failed = sum("error" in entry for entry in entries)
    kept = sum(bool(entry.get("kept")) and "error" not in entry for entry in entries)
    parts = [f"{len(entries) - failed - kept} done"]
    parts += [f"{kept} kept"] if kept else []
    parts += [f"{failed} failed"] if failed else []
    where = escape(str(folder))
    reports = f"{where}/report.html and report.json" if page else f"{where}/{name}"
    out.print(f"{', '.join(parts)}; report in {reports}", highlight=False)
