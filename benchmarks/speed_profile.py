"""Where the time of one study goes, stage by stage, beside the least that each stage could take on this machine.

The least is, for networks, their multiply-accumulates at the rate of a large matrix product; for what moves voxels, the bytes that must be
read and written at the rate of a copy; for files, the bare decoder or encoder on the same bytes.
"""

from __future__ import annotations

import gzip
import io
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import torch
from PIL import Image

from monai_dis.bundle import load_bundle
from monai_dis.bundle.locate import find_bundle
from monai_dis.pipeline import Options, RunSettings, StudySegmenter

__all__ = ["profile_case", "profile_table"]

#: Stages that are shown as one, and what bounds each.
GROUPS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "read": ("decoding", ("check", "read")),
    "prepare": ("memory", ("prepare",)),
    "networks": ("arithmetic", ("coarse", "score", "refine")),
    "windows": ("memory", ("select", "gather")),
    "compose": ("memory", ("merge", "statistics", "other")),
    "finish": ("memory", ("finish",)),
    "write": ("encoding", ("write",)),
    "overlay": ("encoding", ("overlay",)),
}
FLOAT, BYTE = 4, 1


def profile_case(name: str, study: Path, repeats: int, threads: int) -> dict[str, Any]:
    """Medians of the seconds of one study.

    Args:
        name: of the bundle, or its folder.
        study: image file or DICOM folder.
        repeats: runs, after one that does not count.
        threads: of the processor.
    """
    folder = find_bundle(name)
    # Time is what counts here: a study of another modality than the bundle's is as good.
    options = Options.of_words(policies={"MODALITY_MISMATCH": "warn"})
    segment = StudySegmenter(RunSettings(str(folder), {"device": "cpu"}, options, threads))
    entries = []
    for _ in range(repeats + 1):
        with tempfile.TemporaryDirectory() as output:
            record = segment(study, output)
            if record.reason:
                raise SystemExit(record.reason)
            entry = record.entry
            encode, picture = (_quickest(_encoder(Path(entry[key]))) for key in ("output", "overlay"))
        entries.append(entry)
    seconds = {
        stage: median(entry["seconds"].get(stage, 0.0) for entry in entries[1:])
        for stage in dict.fromkeys(stage for entry in entries for stage in entry["seconds"])
    }
    rates = machine_rates()
    least = _least(entries[-1], study, load_bundle(folder, "inference").part("network"), rates, encode, picture)
    rows = [
        {
            "stage": group,
            "seconds": sum(seconds.get(stage, 0.0) for stage in stages),
            "bound": bound,
            "least": least[group],
        }
        for group, (bound, stages) in GROUPS.items()
    ]
    known = {stage for _, stages in GROUPS.values() for stage in stages} | {"total"}
    assert not set(seconds) - known, f"stages without a group: {set(seconds) - known}"
    sizes = entries[-1]["sizes"]
    return {"bundle": folder.name, "study": study.parent.name if study.is_dir() else study.suffixes[-1].lstrip("."),
            "size": sizes["image"], "prepared": sizes["prepared"], "rates": rates, "rows": rows}  # fmt: skip


def machine_rates() -> dict[str, float]:
    """Multiply-accumulates and bytes per second that this machine reaches with the threads that PyTorch has."""
    a, b = torch.randn(1536, 1536), torch.randn(1536, 1536)
    block = torch.randn(1 << 26)
    out = torch.empty_like(block)
    product, copy = _quickest(lambda: a @ b), _quickest(lambda: out.copy_(block))
    return {"macs_per_s": len(a) ** 3 / product, "bytes_per_s": 2 * FLOAT * block.numel() / copy}


def _least(
    entry: Mapping[str, Any], study: Path, network: Any, rates: Mapping[str, float], encode: float, picture: float
) -> dict[str, float]:
    # A bundle for pictures takes a series slice by slice, and says the size of one.
    slices = len(_files(study)) if study.is_dir() and len(entry["sizes"]["image"]) == 2 else 1
    file, prepared = (slices * math.prod(entry["sizes"][key]) for key in ("image", "prepared"))
    windows = sum(math.prod(window["size"]) for window in entry["statistics"]["windows"])
    channels = _channels(network)

    def moved(count: float) -> float:
        return count / rates["bytes_per_s"]

    return {
        "read": _quickest(_decoder(study)),
        # the image is read in float once and written once
        "prepare": moved(FLOAT * (file + prepared)),
        "networks": entry["operations"] / rates["macs_per_s"],
        # a window is read once and written once
        "windows": moved(2 * FLOAT * windows),
        # refined logits are read, and a label is written for each voxel
        "compose": moved(FLOAT * channels * windows + BYTE * prepared),
        "finish": moved(BYTE * (prepared + file)),
        "write": encode,
        "overlay": picture,
    }


def _channels(network: Any) -> int:
    last = [each for each in network.coarse.modules() if hasattr(each, "out_channels")][-1]
    return int(last.out_channels)


def _decoder(study: Path) -> Callable[[], Any]:
    if study.is_dir():
        return lambda: [pydicom.dcmread(path).pixel_array for path in _files(study)]
    if study.name.endswith(".gz"):
        packed = study.read_bytes()
        return lambda: gzip.decompress(packed)
    if study.suffix == ".nii":
        return study.read_bytes
    return lambda: np.asarray(Image.open(study))


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _encoder(output: Path) -> Callable[[], Any]:
    """What writes the same content again, in memory, with the library's fastest setting."""
    if output.suffix == ".dcm":
        pixels = pydicom.dcmread(output).PixelData
        return lambda: bytes(bytearray(pixels))
    if output.suffix == ".gz":
        image: Any = nib.load(output)
        content = np.asarray(image.dataobj).tobytes()
        return lambda: gzip.compress(content, 1)
    picture = Image.open(output)
    picture.load()
    return lambda: picture.save(io.BytesIO(), format="PNG", compress_level=1)


def _quickest(do: Callable[[], Any]) -> float:
    """Fewest seconds of five runs."""
    marks = [time.perf_counter()]
    for _ in range(5):
        do()
        marks.append(time.perf_counter())
    return min(b - a for a, b in pairwise(marks))


def profile_table(results: Mapping[str, Any]) -> str:
    """A table a case."""
    return "\n\n".join(_case_table(case) for case in results["rows"])


def _case_table(case: Mapping[str, Any]) -> str:
    total = sum(row["seconds"] for row in case["rows"])
    rates = case["rates"]
    lines = [
        f"**{_times(case['size'])} ({case['study']}), `{case['bundle']}`**: {total:.2f} s. A matrix product reaches "
        f"{rates['macs_per_s'] / 1e9:.0f} GMAC/s here, a copy {rates['bytes_per_s'] / 1e9:.1f} GB/s.",
        "",
        "| stage | seconds | share | bound by | least | times the least |",
        "|---|---|---|---|---|---|",
    ]
    for row in case["rows"]:
        times = f"{row['seconds'] / row['least']:.1f}" if row["least"] > 0 else ""
        lines.append(
            f"| {row['stage']} | {row['seconds']:.3f} | {row['seconds'] / total:.0%} | {row['bound']} | {row['least']:.3f} | {times} |"
        )
    return "\n".join(lines)


def _times(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))
