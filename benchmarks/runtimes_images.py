"""What a runtime costs for each bundle before the second image, and whether it answers as PyTorch does.

    python benchmarks/runtimes_images.py measure --output OUT [--bundles A,B] [--runtimes onnx,openvino]
    python benchmarks/runtimes_images.py write --results docs/runtimes_results.json

Every bundle and runtime has a process of its own, so that its memory is its own. Images are made: ``ordinary`` is smooth tissue with
noise everywhere, ``zeroed ground`` the same with everything outside a ball set to one value, as in masked and defaced scans, and ``noise``.
The first image is answered with exports to be made, the next ones are of the same size. Seconds are processor time of one thread, since
machines are shared.
`benchmarks/runtimes.py` compares seconds and Dice on labelled images.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from monai_dis.bundle import load_bundle
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.data import atomic_path
from monai_dis.runtimes import RuntimeModule, calibrating, needs_calibration, with_runtime
from monai_dis.runtimes.agreement import largest_difference

BUNDLES = (
    "fundus_lesions_dis",
    "fundus_vessels_dis",
    "skin_lesion_dis",
    "left_atrium_mr_dis",
    "abdominal_organs_mr_dis",
)
RUNTIMES = ("torch", "onnx", "openvino", "openvino-int8")
IMAGES = ("ordinary", "zeroed ground", "noise")
SIZES = {2: (512, 512), 3: (96, 96, 48)}
PAGE = Path(__file__).parents[1] / "docs" / "runtimes.md"
MARKS = ("<!-- runtimes -->", "<!-- end of runtimes -->")
FASTER = 0.95  # of PyTorch's seconds: what is above is not called faster

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure", help="measure, a row for each bundle and runtime")
    measure.add_argument("--output", type=Path, required=True, help="folder for runtimes_results.json")
    measure.add_argument("--bundles", default=",".join(BUNDLES))
    measure.add_argument("--runtimes", default=",".join(RUNTIMES))
    measure.add_argument("--repeats", type=int, default=3, help="next images")
    write = commands.add_parser("write", help="write the table into docs/runtimes.md")
    write.add_argument("--results", type=Path, required=True)
    one = commands.add_parser("one", help="one bundle in one runtime, in this process")
    for name in ("bundle", "runtime", "cache"):
        one.add_argument(name)
    one.add_argument("repeats", type=int)
    options = parser.parse_args()
    if options.command == "one":
        print(json.dumps(measure_one(options.bundle, options.runtime, Path(options.cache), options.repeats)))
    elif options.command == "measure":
        measure_all(options)
    else:
        rows = json.loads(options.results.read_text(encoding="utf-8"))["rows"]
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        with atomic_path(PAGE) as temporary:
            temporary.write_text(f"{before}{MARKS[0]}\n{table(rows)}{MARKS[1]}{after}", encoding="utf-8")


def measure_all(options: argparse.Namespace) -> None:
    """A row for each bundle and runtime; what is there already is not measured again."""
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "runtimes_results.json"
    rows: list[Row] = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.is_file() else []
    for bundle in options.bundles.split(","):
        for runtime in options.runtimes.split(","):
            if any((row["bundle"], row["runtime"]) == (bundle, runtime) for row in rows):
                continue
            with tempfile.TemporaryDirectory() as cache:
                command = [sys.executable, __file__, "one", bundle, runtime, cache, str(options.repeats)]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(json.dumps(rows[-1]), flush=True)
            with atomic_path(file) as temporary:
                temporary.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


def measure_one(name: str, runtime: str, cache: Path, repeats: int) -> Row:
    """One bundle in one runtime."""
    quiet_third_parties()
    torch.set_num_threads(1)
    bundle = load_bundle(name, device="cpu")
    network, inferer = bundle.part("network").eval(), bundle.part("inferer")
    channels = bundle.metadata.input_channels or 1
    dims = 3 if "_mr_" in name else 2
    images = {kind: make_image(kind, channels, SIZES[dims]) for kind in IMAGES}
    other = with_runtime(network, runtime, cache_dir=cache)
    first, start = images["ordinary"], time.process_time()
    if needs_calibration(other):
        with calibrating(other):
            inferer.run(first, other)
    inferer.run(first, other)
    row: Row = {"bundle": name, "runtime": runtime, "first": time.process_time() - start}
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        inferer.run(first, other)
        seconds.append(time.process_time() - start)
    row["next"] = median(seconds)
    row["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row["agreement"] = (
        {} if runtime == "torch" else {k: agreement(inferer, network, other, x) for k, x in images.items()}
    )
    row["given_up"] = sum(m.given_up for m in other.modules() if isinstance(m, RuntimeModule))
    return row


def make_image(kind: str, channels: int, size: Sequence[int]) -> Tensor:
    """(1, channels, *size), normalised."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, channels, *size, generator=generator)
    if kind == "noise":
        return noise
    small = torch.rand(1, channels, *[8] * len(size), generator=generator)
    smooth = torch.nn.functional.interpolate(small, list(size), mode="bilinear" if len(size) == 2 else "trilinear")
    image = smooth + 0.02 * noise
    if kind == "zeroed ground":
        axes = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in size], indexing="ij")
        image = image * (torch.stack(axes).square().sum(0) < 0.6)
    return (image - image.mean()) / image.std()


def agreement(inferer: Any, network: Any, other: Any, image: Tensor) -> dict[str, float]:
    """Largest difference of the coarse logits, and Dice of all labels that are not background."""
    ours, theirs = inferer.run(image, network), inferer.run(image, other)
    a, b = (result.labels().as_tensor() for result in (ours, theirs))
    both = float(((a > 0) & (a == b)).sum())
    total = float((a > 0).sum() + (b > 0).sum())
    return {
        "difference": largest_difference([theirs.mosaic.coarse], [ours.mosaic.coarse]),
        "dice": 2 * both / total if total else 1.0,
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| bundle | runtime | first image, s | next, s | of PyTorch's | peak, MiB | difference: ordinary, zeroed ground, noise | Dice | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        torch_row = next(r for r in rows if r["bundle"] == row["bundle"] and r["runtime"] == "torch")
        ratio = row["next"] / torch_row["next"]
        found = row["agreement"].values()
        verdict = "" if row is torch_row else "faster" if ratio <= FASTER else "not faster"
        if row["given_up"]:
            verdict = f"{row['given_up']} networks in PyTorch"
        lines.append(
            f"| {row['bundle']} | {row['runtime']} | {row['first']:.1f} | {row['next']:.2f} | {ratio:.2f} | {row['peak_mib']:,.0f} | "
            f"{', '.join(format(each['difference'], '.0e') for each in found)} | "
            f"{', '.join(format(each['dice'], '.4f') for each in found)} | {verdict} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
