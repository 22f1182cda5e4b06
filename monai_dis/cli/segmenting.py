"""`monai-dis segment`: the bundle's own segmenter, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from monai_dis.bundle import find_bundle
from monai_dis.cli.console import image_progress, out, slide_progress, working
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.errors import DicomError, DisError, OutputError

if TYPE_CHECKING:
    from monai_dis.cohort import StudySegmenter
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
    from monai_dis.slides.opening import slides_and_others

    studies = [path for path in images if is_dicom_input(path)]
    others = [path for path in images if path not in studies]
    slides, files = (others, []) if slide else slides_and_others(others)
    _check_options(dicom, studies, files)
    folder = find_bundle(bundle)
    quiet_third_parties()
    with working("loading the bundle"):
        from monai_dis.cohort import StudySegmenter, UnitSettings
        from monai_dis.engines.run_report import report_name

        unit = StudySegmenter(UnitSettings(str(folder), device_override(overrides), dicom_settings(dicom, shard)))
    segmenter = unit.segmenter
    segmenter.image_files, segmenter.shard = list(files), shard
    errors: list[DisError] = []
    entries: list[Entry] = []

    def on_image(done: int, total: int, entry: Entry) -> None:
        entries.append(entry)
        advance(done, total, _line(entry))

    before: list[Any] = []
    with image_progress("segmenting") as advance:
        if files:
            segmenter.on_image = on_image
            try:
                segmenter.run()
            except OutputError:
                raise
            except DisError as error:
                errors.append(error)
            before = segmenter.entries
    if slides:
        try:
            _segment_slides(unit, slides, entries, before)
        except OutputError:
            raise
        except DisError as error:
            errors.append(error)
    with image_progress("segmenting") as advance:
        if studies:
            try:
                _segment_studies(unit, studies, on_image, before)
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


def _segment_slides(unit: StudySegmenter, slides: Sequence[Path], entries: list[Entry], before: list[Any]) -> None:
    runner = unit.slides

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
    unit: StudySegmenter,
    studies: Sequence[Path],
    on_image: Callable[[int, int, Entry], None],
    before: Sequence[Any],
) -> None:
    unit.dicom.on_image = on_image
    unit.dicom.run(studies, before=before)


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
