"""Tables and the curve of `benchmarks/lesions.py`, from what it measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from monai_dis.engines.lesion_evaluation import FALSE_POSITIVES
from monai_dis.engines.score_arms import share_of_oracle
from monai_dis.reports.curves import Curve, draw_curves

BUDGETS = (0.08, 0.11, 0.15, 0.2, 0.4)
SCORED_BUDGETS = (0.11,)
SCORES = ("entropy", "random")
UNIFORM_SCALES = (8, 4, 3, 2, 1)
COARSE_SCALE, OWN_SCALE = 4, 3  # of the coarse pass, and the one that the bundle's network was trained around
RIVAL = "the same network, sliding window at 1/2, overlap 0.5"


def ours_name(share: float) -> str:
    return f"ours at {share:.0%} of a full pass"


def rival_name(scale: int, *, trained: bool = False) -> str:
    where = "whole image" if scale == 1 else f"whole image at 1/{scale}"
    return f"a network trained for it, {where}" if trained else f"the same network, {where}"


def rivals(arms: Iterable[str]) -> list[str]:
    """Names of those among arms that answer whole images at one resolution."""
    return [name for name in arms if "whole image" in name]


def results_table(results: Mapping[str, Any]) -> str:
    """Cost and quality of the arms that do not compare scores, as Markdown."""
    arms = {arm["name"]: arm for arm in results["arms"]}
    names = [
        "coarse pass alone",
        *map(ours_name, BUDGETS),
        "ours, every window",
        *sorted(rivals(arms), key=lambda name: arms[name]["operations"]),
        RIVAL,
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
                oracle = arms.get(f"oracle {share:g}")
                part = (
                    None
                    if oracle is None
                    else share_of_oracle(value, arms["coarse pass alone"]["mean"][measure], oracle["mean"][measure])
                )
                cells += [f"{value:.3f}", "" if part is None else f"{part:.2f}"]
            found = arm["classes"][first]
            cells.append(f"{found['lesion_recall'] * found['lesions']:.0f} of {found['lesions']}")
        else:
            lines.append(_line(cells))
    return "\n".join(lines)


def front_sentence(results: Mapping[str, Any]) -> str:
    """What the front page says of cost and quality, beside the coarse pass and the strongest rival at any cost."""
    arms = {arm["name"]: arm for arm in results["arms"]}
    ours, coarse, window = arms[ours_name(SCORED_BUDGETS[0])], arms["coarse pass alone"], arms[RIVAL]
    rival = max((arms[name] for name in rivals(arms)), key=lambda arm: arm["mean"]["average_precision"])

    def cost(arm: Mapping[str, Any]) -> str:
        seconds = f", {arm['seconds_per_image']:.1f} s from file to files" if "seconds_per_image" in arm else ""
        return f"{arm['operations'] / 1e9:.1f} billion multiply-accumulates{seconds}"

    def quality(arm: Mapping[str, Any]) -> str:
        return f"{arm['mean']['average_precision']:.3f}"

    return (
        f"On {ours['images']} validation photographs, with {results['timing']['threads']} CPU cores, this takes {cost(ours)} and "
        f"{ours['peak_memory_bytes'] / 1e9:.1f} GB, for a mean area under the precision-recall curve of {quality(ours)}; its coarse pass "
        f"alone has {quality(coarse)} for {cost(coarse)}. The strongest rival at one resolution, {rival['name']}, has {quality(rival)} for "
        f"{cost(rival)}; {window['name']}, has {quality(window)} for {cost(window)}."
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
        line("the same network, whole image", [rival_name(s) for s in (8, 4, 3, 2, 1)] + start),
        line("trained for it, whole image", [rival_name(s, trained=True) for s in UNIFORM_SCALES], "points"),
        line("sliding window at 1/2, overlap 0.5", [RIVAL], "points"),
        *[
            line(score, [*start, *[f"{score} {b:g}" for b in SCORED_BUDGETS]])
            for score in ("entropy", "random", "oracle")
            if any(f"{score} {b:g}" in arms for b in SCORED_BUDGETS)
        ],
    ]
    ticks = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 4)
    draw_curves([c for c in curves if c.x], path, log_x=True, x_ticks=ticks, y_label="mean area under precision-recall")
