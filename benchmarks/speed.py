"""Speed and memory: the inferer beside its networks, beside the sliding window, and as images grow.

    python benchmarks/speed.py overhead --output OUT [--case 2D 3D] [--budget "10 %" everywhere] [--size3d 256 256 128]

Figures are JSON files in OUT. What is compared runs in turn in one process, several times, and the median counts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from documents import write_json
from speed_overhead import BUDGETS, CASES, measure_overhead

from monai_dis.cli.quiet import quiet_third_parties


def main() -> None:
    options = _options()
    quiet_third_parties()
    torch.set_num_threads(options.threads)
    options.run(options)


def _overhead(options: argparse.Namespace) -> None:
    sizes = {"2D": options.size2d, "3D": options.size3d}
    rows = measure_overhead(
        options.case, options.budget, options.repeats, {case: size for case, size in sizes.items() if size}
    )
    write_json(options.output / "overhead.json", {"threads": options.threads, "rows": rows})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    overhead = _command(commands, "overhead", _overhead)
    overhead.add_argument("--case", nargs="+", default=list(CASES), choices=list(CASES))
    overhead.add_argument("--budget", nargs="+", default=list(BUDGETS), choices=list(BUDGETS))
    overhead.add_argument("--size2d", nargs=2, type=int, help="another size of the image")
    overhead.add_argument("--size3d", nargs=3, type=int, help="another size of the volume")
    return parser.parse_args()


def _command(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run: object) -> argparse.ArgumentParser:
    command = commands.add_parser(name)
    command.set_defaults(run=run)
    command.add_argument("--output", type=Path, required=True, help="folder of the figures")
    command.add_argument("--threads", type=int, default=1, help="CPU threads")
    command.add_argument("--repeats", type=int, default=3, help="runs of each, after one that does not count")
    return command


if __name__ == "__main__":
    main()
