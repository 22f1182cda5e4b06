"""What a hundred thousand studies take: measured seconds, bytes and memory of one, and what follows from them. Writes docs/scale.md.

    python benchmarks/scale.py measure --bundle left_atrium_mr_dis --studies FOLDER --output OUT
    python benchmarks/scale.py write --output OUT [--cores 16] [--memory-gb 64] [--hours 24] [--price 0.04] [--efficiency 0.7]

``measure`` segments the studies of a folder in one process with one thread, and runs empty tasks on a local Dask cluster. ``write``
derives machines, hours and money from that. What is assumed and not measured (cores and memory of a machine, hours to finish in, price
of a core-hour, efficiency) are its options, and stand on the page.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from documents import write_json, write_marked

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
RESULTS = PAGE.with_name("scale_results.json")
SIZES = (1_000, 100_000, 10_000_000)
EMPTY_TASKS = 2_000


def main() -> None:
    options = _options()
    options.run(options)


def _measure(options: argparse.Namespace) -> None:
    from monai_dis.cli.quiet import quiet_third_parties
    from monai_dis.pipeline import RunSettings, StudySegmenter, find_studies

    quiet_third_parties()
    studies = find_studies([options.studies])
    start = time.process_time()
    segment = StudySegmenter(RunSettings(options.bundle, {"device": "cpu"}, threads=1))
    loading = time.process_time() - start
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for study in studies:
            cpu, wall, before = time.process_time(), time.perf_counter(), _bytes_below(Path(folder))
            record = segment(study, folder)
            rows.append(
                {
                    "status": record.status,
                    "cpu_s": time.process_time() - cpu,
                    "wall_s": time.perf_counter() - wall,
                    "input_bytes": _bytes_below(study.given),
                    "output_bytes": _bytes_below(Path(folder)) - before,
                    "manifest_bytes": len(record.line()),
                }
            )
            print(f"{study.label}: {record.status}, {rows[-1]['cpu_s']:.2f} s", flush=True)
    done = [row for row in rows[1:] if row["status"] == "done"]  # the first one loads what PyTorch loads late
    write_json(
        options.output / f"{options.name or options.bundle}.json",
        {
            "bundle": options.bundle,
            "studies": len(done),
            **{key: fmean(row[key] for row in done) for key in done[0] if key != "status"},
            "loading_cpu_s": loading,
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "scheduler_s_a_task": _scheduling(),
        },
    )


def _scheduling() -> float:
    """Seconds that a task costs scheduler and client, by tasks that do nothing."""
    from monai_dis.pipeline.on_dask import local_cluster

    with local_cluster(2) as client:
        client.gather(client.map(str, range(50), pure=False))
        start = time.perf_counter()
        client.gather(client.map(str, range(EMPTY_TASKS), pure=False))
        return (time.perf_counter() - start) / EMPTY_TASKS


def _write(options: argparse.Namespace) -> None:
    measured = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(options.output.glob("*.json"))]
    assumed = {key: getattr(options, key) for key in ("cores", "memory_gb", "hours", "price", "efficiency")}
    write_json(RESULTS, {"measured": measured, "assumed": assumed})
    write_marked(PAGE, "measured", _measured_table(measured))
    write_marked(PAGE, "derived", _derived_table(measured, assumed))
    print(PAGE.read_text(encoding="utf-8"))


def derive(one: Mapping[str, Any], assumed: Mapping[str, float], studies: int) -> dict[str, float]:
    """Machines, hours and money for so many studies.

    Args:
        one: what a study takes, as ``measure`` writes it.
        assumed: ``cores`` and ``memory_gb`` of a machine, ``hours`` to finish in, ``price`` of a core-hour, ``efficiency``: the share of a
            core's time that goes into studies.
        studies: how many.

    Returns:
        ``core_hours``; ``workers_a_machine``, as many as its cores and its memory hold; ``machines`` that finish in time; ``hours`` that
        they take; ``money``; ``read_mb_s`` and ``written_tb``; ``scheduler_share``, of one scheduler's time.
    """
    core_hours = studies * one["cpu_s"] / 3600 / assumed["efficiency"]
    workers = max(1, min(int(assumed["cores"]), int(assumed["memory_gb"] * 1e9 // one["peak_memory_bytes"])))
    machines = max(1, math.ceil(core_hours / (workers * assumed["hours"])))
    hours = core_hours / (workers * machines)
    return {
        "core_hours": core_hours,
        "workers_a_machine": workers,
        "machines": machines,
        "hours": hours,
        "money": machines * hours * assumed["cores"] * assumed["price"],
        "read_mb_s": studies * one["input_bytes"] / 1e6 / (hours * 3600),
        "written_tb": studies * one["output_bytes"] / 1e12,
        "manifest_gb": studies * one["manifest_bytes"] / 1e9,
        "scheduler_share": studies * one["scheduler_s_a_task"] / (hours * 3600),
    }


def _measured_table(measured: list[dict[str, Any]]) -> str:
    lines = [
        "| bundle | studies | CPU seconds | MB read | MB written | peak memory (MB) | loading (s, once a worker) | scheduler (ms a task) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['bundle']} | {row['studies']} | {row['cpu_s']:.2f} | {row['input_bytes'] / 1e6:.2f} | {row['output_bytes'] / 1e6:.2f} "
        f"| {row['peak_memory_bytes'] / 1e6:.0f} | {row['loading_cpu_s']:.1f} | {1000 * row['scheduler_s_a_task']:.2f} |"
        for row in measured
    ]
    return "\n".join(lines)


def _derived_table(measured: list[dict[str, Any]], assumed: Mapping[str, float]) -> str:
    lines = [
        f"Machines of {assumed['cores']:g} cores and {assumed['memory_gb']:g} GB, {assumed['hours']:g} hours to finish in, "
        f"{assumed['price']:g} a core-hour, {assumed['efficiency']:.0%} of a core's time in studies.",
        "",
        "| bundle | studies | core-hours | workers a machine | machines | hours | money | read (MB/s) | written (TB) | manifest (GB) "
        "| one scheduler busy |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in measured:
        for studies in SIZES:
            found = derive(row, assumed, studies)
            lines.append(
                f"| {row['bundle']} | {studies:,} | {found['core_hours']:,.1f} | {found['workers_a_machine']:.0f} "
                f"| {found['machines']:,.0f} "
                f"| {found['hours']:.2f} | {found['money']:,.2f} | {found['read_mb_s']:,.1f} | {found['written_tb']:.4f} "
                f"| {found['manifest_gb']:.3f} | {found['scheduler_share']:.2%} |"
            )
    return "\n".join(lines)


def _bytes_below(path: Path) -> int:
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    measure, write = commands.add_parser("measure"), commands.add_parser("write")
    for command, run in ((measure, _measure), (write, _write)):
        command.set_defaults(run=run)
        command.add_argument("--output", type=Path, required=True, help="folder of the figures")
    measure.add_argument("--bundle", required=True, help="name or folder")
    measure.add_argument("--studies", type=Path, required=True, help="folder of studies, two at least")
    measure.add_argument("--name", help="of the row; the bundle's when not given")
    write.add_argument("--cores", type=int, default=16, help="of a machine")
    write.add_argument("--memory-gb", type=float, default=64, help="of a machine")
    write.add_argument("--hours", type=float, default=24, help="to finish in")
    write.add_argument("--price", type=float, default=0.04, help="of a core-hour, in any currency")
    write.add_argument("--efficiency", type=float, default=0.7, help="share of a core's time that goes into studies")
    return parser.parse_args()


if __name__ == "__main__":
    main()
