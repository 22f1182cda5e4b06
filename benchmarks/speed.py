"""Speed and memory: the inferer beside its networks, beside MONAI's inferers, and as images grow.

    python benchmarks/speed.py all --output OUT --data DATA
    python benchmarks/speed.py overhead --output OUT [--case 2D 3D] [--budget "10 %" everywhere] [--size3d 256 256 128]
    python benchmarks/speed.py growth --output OUT [--dims 2 3] [--factors 1 2 4 8]
    python benchmarks/speed.py volumes --output OUT [--size 256 256 256] [--classes 2 16 105] [--data FOLDER] [--arms NAME ...]
    python benchmarks/speed.py bundles --output OUT --bundle left_atrium_mr_dis --data DATA [--most 6]
    python benchmarks/speed.py profile --output OUT --bundle left_atrium_mr_dis --study VOLUME
    python benchmarks/speed.py write --output OUT

``all`` runs everything below on the data sets of a folder, each command in a process of its own. ``overhead`` is the share of seconds
outside the networks' forward passes, ``growth`` cost against resolution, ``volumes`` time and memory from file to file, of generated
volumes or of those in a folder, ``bundles`` a trained bundle beside its rival from file to file, on the validation volumes of its data set,
``profile`` the stages of one study beside the least they could take. Figures are JSON files in OUT; ``write`` makes the tables of
``benchmarks/README.md`` and ``docs/profile.md``, CSV files and a plot of those that are there. What is compared runs in turn, several
times, and the median counts. On a machine that others use too, ``--clock cpu`` counts seconds of the processor.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from documents import write_json, write_marked
from speed_bundles import measure_bundle
from speed_growth import DIMENSIONS, fit_exponents, measure_growth
from speed_overhead import BUDGETS, CASES, measure_overhead
from speed_plan import plan
from speed_profile import profile_case, profile_table
from speed_releases import read_rows, release_row, releases_table, replaced
from speed_tables import bundles_table, draw_growth, growth_table, overhead_table, volumes_table, write_csv
from speed_volumes import ARMS, measure_volumes, write_volume

from monai_dis.bundle import load_bundle
from monai_dis.bundle.locate import find_bundle
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.data import read_dataset

HERE = Path(__file__).parent
TABLES = {
    "overhead": overhead_table,
    "growth": growth_table,
    "volumes": volumes_table,
    "bundles": bundles_table,
    "profile": profile_table,
}


def main() -> None:
    options = _options()
    quiet_third_parties()
    torch.set_num_threads(options.threads)
    # Every clock of the run, the inferer's own among them, is the one that was asked for.
    with patch.object(time, "perf_counter", time.process_time) if options.clock == "cpu" else nullcontext():
        options.run(options)


def _all(options: argparse.Namespace) -> None:
    steps = plan(options.data)
    common = ["--output", str(options.output), "--threads", str(options.threads), "--repeats", str(options.repeats)]
    failed = []
    for number, step in enumerate(steps, start=1):
        print(f"{number} of {len(steps)}: {' '.join(step)}", flush=True)
        if subprocess.run([sys.executable, str(Path(__file__)), *step, *common], check=False).returncode:
            failed.append(" ".join(step))
    if failed:
        raise SystemExit(f"{len(failed)} of {len(steps)} failed, the others are done: {'; '.join(failed)}")


def _overhead(options: argparse.Namespace) -> None:
    sizes = {"2D": options.size2d, "3D": options.size3d}
    given = {case: size for case, size in sizes.items() if size}
    images = {case: file for case, file in {"2D": options.image2d, "3D": options.image3d}.items() if file}
    rows = measure_overhead(options.case, options.budget, options.repeats, given, images)
    _add(options, "overhead", rows, ("case", "budget", "image"))


def _growth(options: argparse.Namespace) -> None:
    rows = [row for dims in options.dims for row in measure_growth(dims, options.factors, options.repeats)]
    _keep(options, "growth", {"rows": rows, "exponents": fit_exponents(rows)})


def _volumes(options: argparse.Namespace) -> None:
    if options.clock == "cpu":
        raise SystemExit("volumes run in processes of their own, which have the wall clock alone; leave --clock out")
    files = sorted(options.data.glob("*.nii*")) if options.data else []
    if options.data and any(options.data.glob("*.dcm")):
        files = [options.data]
    if not files:
        files = [options.output / "generated" / f"{'x'.join(map(str, options.size))}.nii.gz"]
        write_volume(files[0], options.size)
    rows = []
    for file in files:
        for classes in options.classes:
            rows += measure_volumes(file, classes, options.arms, options.repeats, options.memory_gb, options.threads)
    _add(options, "volumes", rows, ("size", "classes", "arm"))


def _bundles(options: argparse.Namespace) -> None:
    if options.clock == "cpu":
        raise SystemExit("bundles run in processes of their own, which have the wall clock alone; leave --clock out")
    bundle = load_bundle(find_bundle(options.bundle), ("inference", "evaluate"))
    cases = read_dataset(bundle.part("dataset_name"), options.data).datalist("val")[: options.most]
    rows = measure_bundle(options.bundle, [Path(case["image"]) for case in cases], options.repeats, options.threads)
    _add(options, "bundles", rows, ("bundle",))


def _profile(options: argparse.Namespace) -> None:
    row = profile_case(options.bundle, options.study, options.repeats, options.threads)
    _add(options, "profile", [row], ("bundle", "study", "size"))


def _add(options: argparse.Namespace, name: str, rows: list[dict[str, Any]], same: tuple[str, ...]) -> None:
    """Keep rows beside those that other calls measured; what they measure anew they replace."""
    file = options.output / f"{name}.json"
    before = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.is_file() else []
    kept = [old for old in before if all(any(old[key] != new[key] for key in same) for new in rows)]
    _keep(options, name, {"rows": kept + rows})


def _keep(options: argparse.Namespace, name: str, results: dict[str, Any]) -> None:
    how = {"threads": options.threads, "repeats": options.repeats, "clock": options.clock}
    write_json(options.output / f"{name}.json", {**how, **results})


def _write(options: argparse.Namespace) -> None:
    measured: dict[str, dict[str, Any]] = {}
    for name, table in TABLES.items():
        file = options.output / f"{name}.json"
        if not file.is_file():
            print(f"no {file}: its table stays as it is")
            continue
        results = measured[name] = json.loads(file.read_text(encoding="utf-8"))
        page = HERE.parent / "docs" / "profile.md" if name == "profile" else HERE / "README.md"
        write_marked(page, name, table(results))
        rows = results["rows"]
        if name == "profile":
            rows = [{"bundle": case["bundle"], "study": case["study"], **row} for case in rows for row in case["rows"]]
        write_csv(HERE / "speed" / f"{name}.csv", rows)
        if name == "growth":
            draw_growth(HERE / "speed" / "growth.png", results)
        print(table(results))
    file = HERE / "speed" / "releases.json"
    releases = replaced(read_rows(file), release_row(measured))
    write_json(file, {"rows": releases})
    write_marked(HERE / "README.md", "releases", releases_table(releases))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    everything = _command(commands, "all", _all)
    everything.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    overhead = _command(commands, "overhead", _overhead)
    overhead.add_argument("--case", nargs="+", default=list(CASES), choices=list(CASES))
    overhead.add_argument("--budget", nargs="+", default=list(BUDGETS), choices=list(BUDGETS))
    overhead.add_argument("--size2d", nargs=2, type=int, help="another size of the image")
    overhead.add_argument("--size3d", nargs=3, type=int, help="another size of the volume")
    overhead.add_argument("--image2d", type=Path, help="photograph that is brought to the size, in place of noise")
    overhead.add_argument("--image3d", type=Path, help="volume that is brought to the size, in place of noise")
    growth = _command(commands, "growth", _growth)
    growth.add_argument("--dims", nargs="+", type=int, default=list(DIMENSIONS), choices=list(DIMENSIONS))
    growth.add_argument("--factors", nargs="+", type=int, default=[1, 2, 4, 8], help="powers of two")
    volumes = _command(commands, "volumes", _volumes)
    volumes.add_argument("--size", nargs=3, type=int, default=[256, 256, 256], help="of the generated volume")
    volumes.add_argument("--classes", nargs="+", type=int, default=[2, 16, 105])
    volumes.add_argument(
        "--data", type=Path, help="folder of NIfTI volumes, or of one DICOM series, in place of a generated one"
    )
    volumes.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="NAME")
    volumes.add_argument("--memory-gb", type=float, default=16.0, help="most that an arm may take")
    bundles = _command(commands, "bundles", _bundles)
    bundles.add_argument("--bundle", required=True, help="name or folder")
    bundles.add_argument("--data", type=Path, required=True, help="folder of its data set")
    bundles.add_argument("--most", type=int, help="number of volumes")
    profile = _command(commands, "profile", _profile)
    profile.add_argument("--bundle", required=True, help="name or folder")
    profile.add_argument("--study", type=Path, required=True, help="image file or DICOM folder")
    _command(commands, "write", _write)
    return parser.parse_args()


def _command(commands: Any, name: str, run: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name)
    command.set_defaults(run=run)
    command.add_argument("--output", type=Path, required=True, help="folder of the figures")
    command.add_argument("--threads", type=int, default=1, help="CPU threads")
    command.add_argument("--repeats", type=int, default=3, help="runs of each, after one that does not count")
    command.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="seconds of the wall clock or the processor"
    )
    return command


if __name__ == "__main__":
    main()
