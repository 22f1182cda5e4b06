"""What a report says a study took: windows, operations, seconds, memory, sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_dis.data.image_files import PICTURE_SUFFIXES, image_suffix
from monai_dis.pipeline.predict import Prediction

__all__ = ["figures", "run_figures"]


def figures(prediction: Prediction, path: Path) -> dict[str, Any]:
    """The figures of a prediction for a file."""
    # A photograph has no spacing: its pixels are no millimetres.
    unknown = ("uncertain_left_mm",) if image_suffix(path) in PICTURE_SUFFIXES else ()
    sizes = {"image": list(prediction.image.shape[1:]), "prepared": list(prediction.prepared_size)}
    return run_figures(prediction.statistics, prediction.watch.seconds, prediction.peak_memory_bytes, sizes, unknown)


def run_figures(
    statistics: Mapping[str, Any],
    seconds: Mapping[str, float],
    peak_memory_bytes: int,
    sizes: Mapping[str, list[int]],
    unknown: Sequence[str] = (),
) -> dict[str, Any]:
    """What the report says of one run: windows, operations, seconds, memory, sizes.

    Args:
        statistics: of the run, in plain JSON types.
        seconds: by stage.
        peak_memory_bytes: largest memory in use.
        sizes: of the image as it is and as it was prepared.
        unknown: statistics that mean nothing for this image.
    """
    windows = statistics.get("windows", [])
    return {
        "windows_refined": statistics.get("windows_refined", len(windows)),
        "windows_total": statistics["windows_total"],
        "operations": statistics["operations"],
        "operations_full_pass": statistics["operations_full_pass"],
        "operations_sliding_window": statistics["operations_sliding_window"],
        "fraction_of_full_pass": statistics["fraction_of_full_pass"],
        "fraction_of_sliding_window": statistics["fraction_of_sliding_window"],
        "seconds": {
            **{stage: round(value, 6) for stage, value in seconds.items()},
            "total": round(sum(seconds.values()), 6),
        },
        "peak_memory_bytes": peak_memory_bytes,
        "sizes": dict(sizes),
        "statistics": {
            key: value
            for key, value in statistics.items()
            if key not in ("seconds", "windows_total", "windows_refined", "channels", *unknown)
            and not key.startswith(("operations", "fraction"))
        },
    }
