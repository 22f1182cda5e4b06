"""Slides of growing size: seconds, memory, share of the file that is read, and whether the answer is that of the whole in memory.

    python benchmarks/slides.py make --images DATA/idrid/images --size 40000 --output slide_40000.tif
    python benchmarks/slides.py measure --slide slide_10000.tif --slide slide_20000.tif --slide slide_40000.tif --output OUT
    python benchmarks/slides.py seams --slide slide_10000.tif --output OUT
    python benchmarks/slides.py write --results OUT/slides_results.json

``make`` lays photographs side by side, some of them mirrored, and writes a tiled BigTIFF (JPEG, quality 90) with its levels, a band
of tiles at a time. ``measure`` runs ``monai-dis segment`` on each slide in a process of its own, reads the results back with OpenSlide and
shapely, and compares a part with what the same command answers when it reads the part whole. ``seams`` adds how far the coarse pass in
tiles is from one pass, over a part of several tiles. ``write`` puts the figures into ``docs/slides_results.json`` and the table of
``docs/slides.md``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from documents import write_json, write_marked
from numpy.typing import NDArray
from PIL import Image

from monai_dis.bundle import load_bundle
from monai_dis.inferers import Budget
from monai_dis.slides.grid_image import as_tensor
from monai_dis.slides.intensities import prepare_by_region
from monai_dis.slides.opening import open_slide
from monai_dis.slides.overview import read_overview
from monai_dis.slides.run import SlideRun, run_slide
from monai_dis.slides.tissue import Tissue, find_tissue

TILE = 512
PART = 4288  # the longer side that the bundle prepares photographs to, so that a part in memory keeps its pixels too
DOCS = Path(__file__).parents[1] / "docs"

Pixels = NDArray[np.uint8]


def main() -> None:
    options = _options()
    if options.command == "make":
        make(sorted(options.images.glob("*.jpg")), options.size, options.output)
    elif options.command == "measure":
        options.output.mkdir(parents=True, exist_ok=True)
        results = measure(options.slide, options.bundle, options.output)
        write_json(options.output / "slides_results.json", results)
    elif options.command == "seams":
        file = options.output / "slides_results.json"
        results = json.loads(file.read_text(encoding="utf-8"))
        write_json(file, {**results, "seams": seams(options.slide, options.bundle)})
    else:
        results = json.loads(options.results.read_text(encoding="utf-8"))
        write_json(DOCS / "slides_results.json", results)
        write_marked(DOCS / "slides.md", "slides", table(results))


def make(photographs: Sequence[Path], size: int, output: Path) -> None:
    """Write a pyramidal slide of ``size`` pixels square."""
    first = _photograph(photographs[0])
    height, width = first.shape[:2]
    counts = [size]
    while counts[-1] > TILE:
        counts.append(-(-counts[-1] // 2))
    options: dict[str, Any] = {
        "tile": (TILE, TILE), "compression": "jpeg", "compressionargs": {"level": 90}, "photometric": "rgb", "dtype": np.uint8,
        "resolution": (10000 / 5, 10000 / 5), "resolutionunit": "CENTIMETER",
    }  # fmt: skip
    with tempfile.TemporaryDirectory(dir=output.parent) as folder, tifffile.TiffWriter(output, bigtiff=True) as file:
        for level, count in enumerate(counts):
            below = Path(folder) / f"{level - 1}.raw"
            bands = _laid_out(photographs, size, height, width) if level == 0 else _bands(below, counts[level - 1])
            here = Path(folder) / f"{level}.raw"
            more = {"subifds": len(counts) - 1} if level == 0 else {"subfiletype": 1}
            file.write(_tiles(bands, here), shape=(count, count, 3), **options, **more)
            below.unlink(missing_ok=True)


@lru_cache(maxsize=24)
def _photograph(path: Path) -> Pixels:
    return np.asarray(Image.open(path).convert("RGB"))


def _laid_out(photographs: Sequence[Path], size: int, height: int, width: int) -> Iterator[Pixels]:
    """The slide in bands of a tile's height: photograph ``k`` of the list at place ``k``, every second round mirrored."""
    across = -(-size // width)
    for top in range(0, size, TILE):
        band = np.zeros((min(TILE, size - top), size, 3), dtype=np.uint8)
        for row in range(top // height, (top + len(band) - 1) // height + 1):
            a, b = max(top, row * height), min(top + len(band), (row + 1) * height)
            for column in range(across):
                turn, number = divmod(row * across + column, len(photographs))
                pixels = _photograph(photographs[number])[a - row * height : b - row * height]
                pixels = pixels[:, ::-1] if turn % 2 else pixels
                left = column * width
                band[a - top : b - top, left : left + width] = pixels[:, : size - left]
        yield band


def _bands(path: Path, count: int) -> Iterator[Pixels]:
    """The next level in bands of a tile's height: means of two by two pixels, an odd last one repeated."""
    source = np.memmap(path, dtype=np.uint8, mode="r", shape=(count, count, 3))
    for top in range(0, count, 2 * TILE):
        band = source[top : top + 2 * TILE].astype(np.uint16)
        band = np.pad(band, ((0, len(band) % 2), (0, count % 2), (0, 0)), mode="edge")
        four = band[::2, ::2] + band[1::2, ::2] + band[::2, 1::2] + band[1::2, 1::2]
        yield ((four + 2) // 4).astype(np.uint8)


def _tiles(bands: Iterator[Pixels], copy: Path) -> Iterator[Pixels]:
    """The tiles of bands, which are copied into a raw file for the next level."""
    with copy.open("wb") as file:
        for band in bands:
            file.write(np.ascontiguousarray(band).tobytes())
            for left in range(0, band.shape[1], TILE):
                tile = band[:, left : left + TILE]
                whole = np.zeros((TILE, TILE, 3), dtype=np.uint8)
                whole[: tile.shape[0], : tile.shape[1]] = tile
                yield whole


def measure(slides: Sequence[Path], bundle: str, output: Path) -> dict[str, Any]:
    rows = [_row(slide, bundle, output / slide.stem) for slide in slides]
    return {"bundle": bundle, "slides": rows, "part": _compare_part(slides[0], bundle, output / "part")}


def _row(slide: Path, bundle: str, folder: Path) -> dict[str, Any]:
    """One slide: what the report says, the wall clock, and what other readers find in the results."""
    seconds = _segment(slide, bundle, folder)
    entry = json.loads((folder / "report.json").read_text(encoding="utf-8"))["images"][0]
    about = entry["slide"]
    return {
        "pixels": entry["sizes"]["image"],
        "seconds": seconds,
        "stages": entry["seconds"],
        "peak_memory_bytes": entry["peak_memory_bytes"],
        "file_bytes": about["file_bytes"],
        "share_of_bytes_read": about["share_of_bytes_read"],
        "share_with_tissue": about["share_with_tissue"],
        "windows_refined": entry["windows_refined"],
        "windows_total": entry["windows_total"],
        "fraction_of_full_pass": entry["fraction_of_full_pass"],
        "fraction_of_sliding_window": entry["fraction_of_sliding_window"],
        "objects": entry["object_counts"],
        "read_back": _read_back(entry),
    }


def _segment(image: Path, bundle: str, folder: Path, *options: str) -> float:
    command = [
        sys.executable,
        "-m",
        "monai_dis",
        "segment",
        str(image),
        "-b",
        bundle,
        "-o",
        str(folder),
        "--overwrite",
        *options,
    ]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def _read_back(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What OpenSlide sees of the label image and shapely of the outlines; the area of the class with most ground by both."""
    import openslide
    from shapely.geometry import shape

    features = json.loads(Path(entry["outlines"]).read_text(encoding="utf-8"))["features"]
    areas: dict[str, float] = {}
    valid = True
    for feature in features:
        polygon = shape(feature["geometry"])
        valid = valid and polygon.is_valid
        name = feature["properties"]["classification"]["name"]
        areas[name] = areas.get(name, 0.0) + polygon.area
    largest = max(areas, key=lambda name: areas[name])
    with openslide.OpenSlide(entry["output"]) as labels:
        found = {"size": list(labels.dimensions), "um": float(labels.properties["openslide.mpp-x"])}
    return {
        "openslide": found,
        "polygons": len(features),
        "polygons_valid": valid,
        "largest_class": largest,
        "outlined_area": areas[largest],
        "labelled_pixels": _foreground(Path(entry["masks"][largest])),
        "outline_scales": entry.get("outline_scales", {}),
    }


def _foreground(path: Path) -> int:
    """Pixels that are not background, counted by OpenSlide's reader tile by tile."""
    import openslide

    total = 0
    with openslide.OpenSlide(str(path)) as slide:
        width, height = slide.dimensions
        for top in range(0, height, 4096):
            for left in range(0, width, 4096):
                size = (min(4096, width - left), min(4096, height - top))
                total += int(np.count_nonzero(np.asarray(slide.read_region((left, top), 0, size))[..., 0]))
    return total


def _compare_part(slide: Path, bundle: str, folder: Path) -> dict[str, Any]:
    """A square of the slide as a tiled file without levels, as one with levels, and as a PNG that is read whole.

    The part begins where the slide's photographs do not, so that it holds pieces of several. The tiled file without levels gives
    the algorithm the same pixels at every level as the whole in memory does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pyramid = open_slide(slide)
    part = np.ascontiguousarray(pyramid.read(0, (1500, 1100), (PART, PART)).transpose(2, 1, 0))
    Image.fromarray(part).save(folder / "part.png", compress_level=1)
    flat = folder / "flat.tif"
    tifffile.imwrite(flat, part, tile=(TILE, TILE), compression="zlib", photometric="rgb")
    levels = folder / "levels.tif"
    with tifffile.TiffWriter(levels) as file:
        file.write(part, tile=(TILE, TILE), compression="zlib", photometric="rgb", subifds=4)
        for k in (2, 4, 8, 16):
            mean = part.reshape(PART // k, k, PART // k, k, 3).mean((1, 3))
            file.write(
                np.rint(mean).astype(np.uint8), tile=(TILE, TILE), compression="zlib", photometric="rgb", subfiletype=1
            )
    _segment(folder / "part.png", bundle, folder / "whole")
    _segment(flat, bundle, folder / "slide", "--slide")
    _segment(levels, bundle, folder / "slide_of_levels", "--slide")
    return _differences(folder)


def _differences(folder: Path) -> dict[str, Any]:
    """Where the answers from disk differ from the one in memory; ground without tissue, background on a slide, is counted apart."""
    whole = json.loads((folder / "whole" / "report.json").read_text(encoding="utf-8"))["images"][0]
    result: dict[str, Any] = {"pixels": [PART, PART], "windows_whole": whole["windows_refined"]}
    for name, file in (("slide", "flat.tif"), ("slide_of_levels", "levels.tif")):
        entry = json.loads((folder / name / "report.json").read_text(encoding="utf-8"))["images"][0]
        tissue = find_tissue(read_overview(open_slide(folder / file)))
        ground = tissue.on((slice(0, PART), slice(0, PART)), (PART, PART)).T
        differ, on_tissue, labelled = 0, 0, 0
        dice = []
        for label, path in whole["masks"].items():
            a = np.asarray(Image.open(path)) > 0
            b = tifffile.imread(entry["masks"][label]) > 0
            differ += int((a != b).sum())
            on_tissue += int(((a != b) & ground).sum())
            labelled += int(a.sum())
            dice.append(2 * float((a & b).sum()) / max(1.0, float(a.sum() + b.sum())))
        ours, theirs = ([w["corner"] for w in e["statistics"]["windows"]] for e in (entry, whole))
        result[name] = {
            "labelled_pixels": labelled,
            "pixels_that_differ": differ,
            "of_them_on_tissue": on_tissue,
            "lowest_dice": min(dice),
            "same_windows": ours == theirs,
            "windows": entry["windows_refined"],
        }
    return result


@torch.no_grad()
def seams(slide: Path, bundle: str) -> dict[str, Any]:
    """The coarse pass over a part of several tiles, in tiles from disk and in one pass in memory."""
    loaded = load_bundle(bundle, device="cpu")
    network, inferer = loaded.part("network").eval(), loaded.part("inferer").with_budget(Budget(windows=0))
    side = 2 * PART
    with tempfile.TemporaryDirectory() as folder:
        part = open_slide(slide).read(0, (700, 900), (side, side)).transpose(2, 1, 0)
        flat = Path(folder) / "flat.tif"
        tifffile.imwrite(flat, part, tile=(TILE, TILE), compression="zlib", photometric="rgb")
        pyramid = open_slide(flat)
        overview = read_overview(pyramid)
        prepare = prepare_by_region(loaded.part("preprocessing"), pyramid, overview)
        everywhere = Tissue(np.ones(overview.shape[1:], dtype=bool))
        run = SlideRun(pyramid, network, inferer.settings, prepare, everywhere, Path(folder) / "run")
        tiled = run_slide(run).mosaic
        whole = inferer.run(prepare(as_tensor(part.transpose(2, 1, 0)))[None], network).mosaic
        a, b = tiled.grid(0), whole.grid(0)
    return {
        "pixels": [side, side],
        "tiles": len(list(tiled.tiles.tiles())),
        "largest_difference_of_logits": float((a - b).abs().max()),
        "labels_that_differ": int(((a > 0) != (b > 0)).sum()),
        "labels": int((b > 0).sum()),
    }


def table(results: Mapping[str, Any]) -> str:
    """The table and sentences of the page."""
    head = "| slide (pixels) | file | read | with tissue | windows | of a full pass | seconds | peak memory |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for row in results["slides"]:
        lines.append(
            f"| {row['pixels'][0]:,} x {row['pixels'][1]:,} | {row['file_bytes'] / 2**20:,.0f} MiB | {row['share_of_bytes_read']:.0%} | "
            f"{row['share_with_tissue']:.0%} | {row['windows_refined']:,} of {row['windows_total']:,} | "
            f"{row['fraction_of_full_pass']:.1%} | {row['seconds']:,.0f} | {row['peak_memory_bytes'] / 2**20:,.0f} MiB |"
        )
    part, last = results["part"], results["slides"][-1]
    flat, levels, back = part["slide"], part["slide_of_levels"], last["read_back"]
    seen, seam = back["openslide"], results["seams"]
    lines += [
        "",
        f"A part of {part['pixels'][0]:,} x {part['pixels'][1]:,} pixels of the first slide, read whole and from disk (tiles, no levels): "
        f"{'the same windows' if flat['same_windows'] else 'other windows'}, {flat['pixels_that_differ']:,} of {flat['labelled_pixels']:,} "
        f"labelled pixels differ, {flat['of_them_on_tissue']:,} of them on tissue (the rest is ground, background on a slide). "
        f"With the file's own levels, which are rounded to whole numbers: {levels['pixels_that_differ']:,} differ, "
        f"{levels['of_them_on_tissue']:,} of them on tissue, lowest Dice of a class {levels['lowest_dice']:.4f}.",
        "",
        f"The coarse pass over {seam['pixels'][0]:,} x {seam['pixels'][1]:,} pixels in {seam['tiles']} tiles and in one pass: "
        f"logits differ by {seam['largest_difference_of_logits']:.0e} at most, {seam['labels_that_differ']:,} of {seam['labels']:,} labels "
        "differ.",
        "",
        f"Of the largest slide OpenSlide reads a label image of {seen['size'][0]:,} x {seen['size'][1]:,} pixels of {seen['um']:g} µm. "
        f"Shapely reads {back['polygons']:,} polygons, {'all' if back['polygons_valid'] else 'not all'} of them valid; those of "
        f"{back['largest_class']} outline {back['outlined_area']:,.0f} pixels, and OpenSlide counts {back['labelled_pixels']:,} in "
        "its mask.",
    ]
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("make")
    made.add_argument("--images", type=Path, required=True)
    made.add_argument("--size", type=int, required=True)
    made.add_argument("--output", type=Path, required=True)
    measured = commands.add_parser("measure")
    measured.add_argument("--slide", type=Path, action="append", required=True)
    measured.add_argument("--bundle", default="fundus_lesions_dis")
    measured.add_argument("--output", type=Path, required=True)
    tiled = commands.add_parser("seams")
    tiled.add_argument("--slide", type=Path, required=True)
    tiled.add_argument("--bundle", default="fundus_lesions_dis")
    tiled.add_argument("--output", type=Path, required=True)
    written = commands.add_parser("write")
    written.add_argument("--results", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
