"""Tables and the curve of `benchmarks/lesions.py`, from what it measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_dis.engines.lesion_evaluation import FALSE_POSITIVES
from monai_dis.engines.score_arms import share_of_oracle
from monai_dis.reports.curves import Curve, draw_curves

BUDGETS = (0.02, 0.05, 0.1, 0.2, 0.4)
SCORED_BUDGETS = (0.1,)
SCORES = ("entropy", "margin", "least_confidence", "poster", "random", "random-foreground", "boundary", "box")
UNIFORM_SCALES = (1, 2, 3, 4, 8)
RIVAL = "baseline, sliding window, overlap 0.5"


def ours_name(share: float) -> str:
    return f"ours at {share:.0%} of a full pass"


def rival_name(scale: int) -> str:
    return "baseline, whole image" if scale == 1 else f"baseline, whole image at 1/{scale}"


def results_table(results: Mapping[str, Any]) -> str:
    """Cost and quality of the arms that do not compare scores, as Markdown."""
    arms = {arm["name"]: arm for arm in results["arms"]}
    names = [
        "coarse pass alone",
        *map(ours_name, BUDGETS),
        "ours, every window",
        RIVAL,
        *map(rival_name, UNIFORM_SCALES),
    ]
    classes = list(next(iter(arms.values()))["classes"])
    head = ["", "GMAC", "share of a full pass", "seconds", "MB", "mean AUPR", *[f"AUPR {c}" for c in classes]]
    head += ["mean Dice", *[f"Dice {c}" for c in classes], *[f"{classes[0]}s found at {n}" for n in FALSE_POSITIVES]]
    lines = [_line(head), _line(["---"] * len(head))]
    for name in names:
        if name not in arms:
            continue
        arm = arms[name]
        found = arm["classes"][classes[0]]
        lines.append(
            _line(
                [
                    name,
                    f"{arm['operations'] / 1e9:.1f}",
                    f"{arm['fraction_of_full_pass']:.1%}",
                    f"{arm['seconds_per_image']:.1f}" if "seconds_per_image" in arm else "",
                    f"{arm['peak_memory_bytes'] / 1e6:.0f}" if "peak_memory_bytes" in arm else "",
                    *[f"{each['average_precision']:.3f}" for each in (arm["mean"], *arm["classes"].values())],
                    *[f"{each['pooled_dice']:.3f}" for each in (arm["mean"], *arm["classes"].values())],
                    *[f"{found[f'sensitivity_at_{n}']:.3f}" for n in FALSE_POSITIVES],
                ]
            )
        )
    step, images = results["largest_step_down_of_average_precision"], results["arms"][0]["images"]
    lines += [
        "",
        f"{images} validation images of {results['data']}; largest step down of the mean AUPR as the budget grows: {step:.4f}.",
    ]
    return "\n".join(lines)


def scores_table(results: Mapping[str, Any]) -> str:
    """Ways to choose windows at equal budgets, and their share of the oracle's gain, as Markdown."""
    arms = {arm["name"]: arm for arm in results["arms"]}
    first = next(iter(arms["coarse pass alone"]["classes"]))
    names = {"learned gain": None, "learned gain, not stacked": "gain, not stacked"}
    names |= {"entropy, not stacked": "entropy, not stacked"}
    names |= {score: score for score in (*SCORES, "oracle")}
    head = ["windows by"]
    for share in SCORED_BUDGETS:
        head += [f"mean AUPR at {share:.0%}", "share of the oracle's gain", "mean Dice", "share", f"{first}s found"]
    lines = [_line(head), _line(["---"] * len(head))]
    for label, name in names.items():
        cells = [label]
        for share in SCORED_BUDGETS:
            arm = arms.get(ours_name(share) if name is None else f"{name} {share:g}")
            if arm is None:
                break
            for measure in ("average_precision", "pooled_dice"):
                value = arm["mean"][measure]
                rest = (arms[other]["mean"][measure] for other in ("coarse pass alone", f"oracle {share:g}"))
                part = share_of_oracle(value, *rest)
                cells += [f"{value:.3f}", "" if part is None else f"{part:.2f}"]
            found = arm["classes"][first]
            cells.append(f"{found['lesion_recall'] * found['lesions']:.0f} of {found['lesions']}")
        else:
            lines.append(_line(cells))
    return "\n".join(lines)


def front_sentence(results: Mapping[str, Any]) -> str:
    """What the front page says of cost and quality."""
    arms = {arm["name"]: arm for arm in results["arms"]}
    share = 0.1
    ours, rival = arms[ours_name(share)], arms[RIVAL]

    def cost(arm: Mapping[str, Any]) -> str:
        return f"{arm['operations'] / 1e9:.1f} billion multiply-accumulates, {arm['seconds_per_image']:.1f} s from file to files"

    return (
        f"On {ours['images']} validation photographs, with {results['timing']['threads']} CPU cores, this takes {cost(ours)} and "
        f"{ours['peak_memory_bytes'] / 1e9:.1f} GB, for a mean area under the precision-recall curve of "
        f"{ours['mean']['average_precision']:.3f}. Looking everywhere at full resolution, with a network of the same family in a "
        f"sliding window, takes {cost(rival)} and {rival['peak_memory_bytes'] / 1e9:.1f} GB, for "
        f"{rival['mean']['average_precision']:.3f}."
    )


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def draw(path: Path, results: Mapping[str, Any]) -> None:
    arms = {arm["name"]: arm for arm in results["arms"]}

    def line(label: str, names: list[str], style: str = "line") -> Curve:
        points = sorted((arms[n] for n in names if n in arms), key=lambda arm: arm["operations"])
        costs = [arm["fraction_of_full_pass"] for arm in points]
        return Curve(label, costs, [arm["mean"]["average_precision"] for arm in points], style)

    start = ["coarse pass alone"]
    curves = [
        line("ours: learned gain, stacked", [*start, *map(ours_name, BUDGETS), "ours, every window"]),
        line("one resolution everywhere", [rival_name(scale) for scale in UNIFORM_SCALES]),
        line("sliding window, overlap 0.5", [RIVAL], "points"),
        *[
            line(score, [*start, *[f"{score} {b:g}" for b in SCORED_BUDGETS]])
            for score in ("entropy", "random", "oracle")
            if any(f"{score} {b:g}" in arms for b in SCORED_BUDGETS)
        ],
    ]
    ticks = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 4)
    draw_curves([c for c in curves if c.x], path, log_x=True, x_ticks=ticks, y_label="mean area under precision-recall")
