"""Which series of a study is meant: the one that could be segmented, if there is one and only one (I11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monai_dis.checks.findings import Finding, Policy, finding
from monai_dis.dicom.series import Series
from monai_dis.dicom.target import Target

__all__ = ["choose_series", "nothing_selected"]

_TRUNCATED = 12
#: What keeps a series from being segmented now, and not for good: a new copy, a choice or a decoder would help, so it may be meant.
_MENDABLE = frozenset({
    "DECODER_MISSING", "FILE_CORRUPT", "FILE_TRUNCATED", "FRAME_OF_REFERENCE_MIXED", "LIMIT_EXCEEDED", "SERIES_INCOMPLETE",
    "SLICE_CONFLICT", "SLICE_GAP", "UID_MISSING", "VOLUME_MULTIPLE",
})  # fmt: skip
#: In words, for a series that is passed over.
_WORDS = {
    "IMAGE_NOT_GRAYSCALE": "in colour",
    "MOSAIC": "mosaic",
    "ORIENTATION_MIXED": "several orientations",
    "SECONDARY_CAPTURE": "screen capture",
    "SINGLE_SLICE": "single slice",
}


def choose_series(series: Sequence[Series], target: Target) -> tuple[Series | None, list[Finding]]:
    """Choose a series.

    Args:
        series: all that the user's selection allows.
        target: what the network takes.

    Returns:
        the series; None when several could be meant; and findings about the choice.
    """
    series = sorted(series, key=lambda each: (each.number, each.uid))
    if len(series) < 2:
        return (series[0] if series else None), []
    fitting, passed = _candidates(series, target)
    if not fitting:
        # Whatever keeps the largest from being segmented is what its user wants to know.
        return max(series, key=lambda each: (not each.scout, target.takes(each.modality), each.images)), []
    others = "; ".join(f"{_name(each)} ({why})" for each, why in passed[:_TRUNCATED])
    others = f"; passed over: {others}" if others else ""
    if len(fitting) > 1:
        table = "; ".join(_row(each, series) for each in fitting[:_TRUNCATED])
        message = f"{len(fitting)} of {len(series)} series fit: {table}{others}."
        return None, [finding("SERIES_AMBIGUOUS", message, len(fitting))]
    message = f"one of {len(series)} series fits and is used: {_facts(fitting[0])}{others}."
    return fitting[0], [finding("SERIES_SELECTED", message, fitting[0].images)]


def nothing_selected(series: Sequence[Series], selection: Mapping[str, str]) -> Finding:
    """The finding where a selection of series takes none."""
    table = "; ".join(_facts(each) for each in series[:_TRUNCATED])
    message = f"none of {len(series)} series is selected by {', '.join(sorted(selection))}; there are: {table}."
    return finding("SELECTION_EMPTY", message, len(series))


def _candidates(series: Sequence[Series], target: Target) -> tuple[list[Series], list[tuple[Series, str]]]:
    """Series that could be segmented, and the others with the reason.

    Scouts give way to anything else, derived series to the originals.
    """
    reasons = {id(each): _why_not(each, target) for each in series}
    fitting = [each for each in series if not reasons[id(each)]]
    for kind, word in (("scout", "localizer"), ("derived", "derived")):
        rest = [each for each in fitting if not getattr(each, kind)]
        for each in fitting:
            if rest and each not in rest:
                reasons[id(each)] = word
        fitting = rest or fitting
    return fitting, [(each, reasons[id(each)]) for each in series if reasons[id(each)]]


def _why_not(series: Series, target: Target) -> str:
    """Why a series cannot be meant, in a word or two; empty when it may be."""
    rejected = [each.code for each in series.findings if each.policy is Policy.REJECT]
    if not target.takes(series.modality) and "MODALITY_MISMATCH" in rejected:
        return series.modality
    for code in rejected:
        if code not in _MENDABLE:
            return "localizer" if series.scout else _WORDS.get(code, code)
    return ""


def _name(series: Series) -> str:
    return f"number {series.number}{f' {series.description!r}' if series.description else ''}"


def _facts(series: Series) -> str:
    spacing = (
        "" if series.spacing_mm is None else ", " + " x ".join(f"{each:.3g}" for each in series.spacing_mm) + " mm"
    )
    plane = f", {series.plane}" if series.plane else ""
    counted = f"{series.images} images" if series.slices is None else f"{series.slices} slices"
    broken = next((each.code for each in series.findings if each.policy is Policy.REJECT), "")
    return f"{_name(series)}, {series.modality}{plane}, {counted}{spacing}{', ' + broken if broken else ''}"


def _row(series: Series, all_series: Sequence[Series]) -> str:
    """A series with what selects it: its number where no other has it."""
    alone = sum(each.number == series.number for each in all_series) == 1
    chosen = f"SeriesNumber={series.number}" if alone else f"SeriesInstanceUID={series.uid}"
    return f"{_facts(series)}: --select {chosen}"
