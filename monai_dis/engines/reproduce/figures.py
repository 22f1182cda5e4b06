"""The poster's figures, drawn from the results alone."""

from __future__ import annotations

from pathlib import Path

from monai_dis.engines.reproduce.results import Results, Row
from monai_dis.reports.curves import Curve, draw_curves

__all__ = ["draw_figures"]

_NAMES = {"dis": "DIS (poster's choice of windows)", "random": "random windows", "oracle": "oracle windows"}


def draw_figures(results: Results, folder: Path) -> tuple[Path, Path]:
    """Write ``dice_vs_np.png`` and ``dice_vs_operations.png``.

    Returns:
        The two files.
    """
    coarse, baseline = results.of_kind("coarse"), results.of_kind("baseline")
    about = results.experiment
    title = f"{about['dataset']}, {len(results.cases)} validation images" + (
        " (quick run)" if about["train_cases"] is not None else ""
    )
    numbers = [row.number for row in results.of_kind("dis")]

    # In both figures each method has the same place in the legend, and so the same colour.
    by_number = [Curve(name, numbers, _dice(results.of_kind(kind))) for kind, name in _NAMES.items()]
    levels = [
        Curve(baseline[0].label, [], _dice(baseline[:1]), style="level"),
        Curve(coarse[0].label, [], _dice(coarse), style="level"),
    ]
    first = draw_curves(
        [*by_number, *levels],
        folder / "dice_vs_np.png",
        title=title,
        x_label="N_p: windows refined, and divisor of their side",
        y_label="mean Dice",
        log_x=True,
        x_ticks=numbers,
    )

    by_cost = [
        Curve(
            name,
            _cost(results.of_kind(kind)),
            _dice(results.of_kind(kind)),
            notes=[f"{n}" for n in numbers] if kind == "dis" else (),
        )
        for kind, name in _NAMES.items()
    ]
    scales = ["full" if row.number == 1 else f"1/{row.number}" for row in baseline]
    uniform = Curve("baseline at a uniform resolution", _cost(baseline), _dice(baseline), notes=scales)
    second = draw_curves(
        [*by_cost, uniform, Curve(coarse[0].label, _cost(coarse), _dice(coarse), style="points")],
        folder / "dice_vs_operations.png",
        title=title,
        x_label="operations per image (billions of multiply-accumulates); numbers at DIS are N_p",
        y_label="mean Dice",
        log_x=True,
    )
    return first, second


def _dice(rows: list[Row]) -> list[float]:
    return [row.dice for row in rows]


def _cost(rows: list[Row]) -> list[float]:
    return [row.operations / 1e9 for row in rows]
