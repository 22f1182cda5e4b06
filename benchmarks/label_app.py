"""The reading desk in figures: latencies and memory of a real server, clicks, and active learning. Writes docs/label_results.json.

python benchmarks/label_app.py latency --studies FOLDER --bundle left_atrium_mr_dis --image NAME
python benchmarks/label_app.py clicks --data data/la2018 --bundle left_atrium_mr_dis
python benchmarks/label_app.py learning --data data/la2018
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from monai.metrics import compute_dice
from monai.networks import one_hot
from rich.progress import track

from monai_dis.data import read_dataset
from monai_dis.data.atomic import atomic_path
from monai_dis.data.images import read_image
from monai_dis.engines.click_step import largest_error
from monai_dis.inferers import Budget, IterativeInferer
from monai_dis.inferers.clicks import Click, with_click
from monai_dis.label.training import HeldCases, LabelledCase
from monai_dis.pipeline.model import Model

app = typer.Typer(add_completion=False, no_args_is_help=True)
RESULTS = Path(__file__).parents[1] / "docs" / "label_results.json"
PAGE = RESULTS.with_name("label.md")
BEGIN, END = "<!-- figures: written by benchmarks/label_app.py from label_results.json -->", "<!-- end of figures -->"
CLICKS = (0, 1, 2, 3, 5)


def record(section: str, name: str, figures: dict[str, Any]) -> None:
    content = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    content.setdefault(section, {})[name] = figures
    with atomic_path(RESULTS) as temporary:
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    typer.echo(json.dumps(figures, indent=1))
    content = json.loads(RESULTS.read_text())  # in the order of the file, which the page must have too
    before, rest = PAGE.read_text().split(BEGIN)
    with atomic_path(PAGE) as temporary:
        temporary.write_text(before + BEGIN + "\n\n" + figures_page(content) + "\n" + END + rest.split(END)[1])


def figures_page(content: dict[str, Any]) -> str:
    """The results as Markdown."""
    parts = []
    for name, row in content.get("latency", {}).items():
        parts.append(f"Seconds until the answer is with the client, {name}:\n")
        parts.append("| request | median | slowest |\n| --- | --- | --- |")
        parts += [f"| {key} | {v['median_s']} | {v['worst_s']} |" for key, v in row.items() if "median_s" in v]
        memory = ", ".join(f"{value} MiB {key}" for key, value in row["memory_mib"].items())
        threads, load = row["machine"]["threads"], row["machine"]["load_of_other_programs"]
        parts.append(
            f"\nMemory of the server: {memory}. CPU, {threads} threads; load of other programs meanwhile: {load}.\n"
        )
    for name, row in content.get("clicks", {}).items():
        numbers = list(row["clicks"])
        parts.append(f"Mean Dice after clicks on the largest error, {name} ({row['cases']} cases, {row['weights']}):\n")
        parts.append("| | " + " | ".join(f"{n}" for n in numbers) + " |\n|" + " --- |" * (len(numbers) + 1))
        for title, curves in (("", row), (", worst quarter", row["worst quarter"])):
            parts += [f"| {key}{title} | " + " | ".join(str(v) for v in curve.values()) + " |"
                      for key, curve in curves.items() if isinstance(curve, dict) and "0" in curve]  # fmt: skip
        parts.append(f"\nA click takes {row['seconds_per_click']} s on one thread, without reading and writing.\n")
    for name, row in content.get("learning", {}).items():
        numbers = sorted(row["random"], key=int)
        cases = f"{row['val_cases']} validation cases, {row['seeds']} seeds"
        parts.append(f"Mean Dice against the number of labelled cases, {name} ({cases}):\n")
        parts.append("| | " + " | ".join(numbers) + " |\n|" + " --- |" * (len(numbers) + 1))
        parts += [
            f"| {key} | " + " | ".join(f"{row[key][n]['mean']} ± {row[key][n]['sd']}" for n in numbers) + " |"
            for key in ("expected gain", "random")
        ]
        parts.append("")
    return "\n".join(parts)


@app.command(help="Seconds of requests to a real server, and its memory after many of them. Needs the extra `label`.")
def latency(
    studies: Annotated[Path, typer.Option(help="Folder of images.")],
    bundle: Annotated[str, typer.Option(help="Name or folder.")],
    image: Annotated[str, typer.Option(help="Id of the image in the folder.")],
    point: Annotated[str, typer.Option(help="A voxel to click at, such as 90,70,40.")],
    name: Annotated[str, typer.Option(help="Of the row in the results.")],
    repeats: Annotated[int, typer.Option(help="Requests of each kind.")] = 5,
    requests: Annotated[int, typer.Option(help="Requests between two looks at the memory.")] = 50,
) -> None:
    from monai_dis.testing.label_server import label_server

    place = [float(part) for part in point.split(",")]
    with tempfile.TemporaryDirectory() as folder, label_server(studies, [bundle], Path(folder)) as server:
        client, model = server.client(), Path(bundle).name

        def ask(kind: str, number: int) -> tuple[float, dict[str, Any]]:
            params: dict[str, Any] = {"result_extension": ".nrrd", "result_dtype": "uint8"}
            target = model
            if kind == "click":
                target, params["foreground"] = f"{model}_clicks", [[place[0] + number % 3, *place[1:]]]
            else:
                params["mode"] = kind
            start = time.perf_counter()
            file, about = client.infer(target, image, params)
            Path(file).unlink()
            return time.perf_counter() - start, about

        def touch() -> None:  # the image is another one: nothing that was kept counts
            for file in studies.glob(f"{image}.*"):
                os.utime(file)

        ask("coarse", 0), ask("dis", 0), ask("click", 0)  # the first of all compile and count
        seconds: dict[str, list[float]] = {}
        for number in track(range(repeats), "latencies"):
            touch()
            seconds.setdefault("coarse preview of a new image", []).append(ask("coarse", number)[0])
            seconds.setdefault("automatic after the preview", []).append(ask("dis", number)[0])
            seconds.setdefault("one click", []).append(ask("click", number)[0])
            touch()
            seconds.setdefault("automatic of a new image", []).append(ask("dis", number)[0])
        memory = [server.memory_bytes()]
        for number in track(range(requests), "memory"):
            if number % 5 == 0:
                touch()
            ask(("coarse", "dis", "click")[number % 3], number)
        memory.append(server.memory_bytes())
    figures = {
        key: {"median_s": round(statistics.median(v), 3), "worst_s": round(max(v), 3)} for key, v in seconds.items()
    }
    load = os.getloadavg()[0]
    record(
        "latency",
        name,
        {
            **figures,
            "memory_mib": {"before": memory[0] >> 20, f"after {requests} requests": memory[1] >> 20},
            "machine": {"threads": torch.get_num_threads(), "load_of_other_programs": round(max(load - 1, 0), 1)},
        },
    )


@app.command(help="Dice after clicks on the largest errors, against as many windows given to the uncertainty alone.")
@torch.no_grad()
def clicks(
    data: Annotated[Path, typer.Option(help="Folder with images, labels and splits.json.")],
    bundle: Annotated[str, typer.Option(help="Name or folder.")],
    name: Annotated[str, typer.Option(help="Of the row in the results.")],
    most: Annotated[int, typer.Option(help="Cases.")] = 12,
    weights: Annotated[str, typer.Option(help="How the weights were made, for the record.")] = "",
) -> None:
    parts = Model.open(bundle, {"device": "cpu"}, clicks=True)
    cases = list(read_dataset("folder", data).datalist("val"))[:most]
    curves: dict[str, list[list[float]]] = {
        "clicks": [],
        "clicks without the network": [],
        "windows by uncertainty": [],
    }
    seconds = []
    held = HeldCases(parts)
    for item in track(cases, "cases"):
        image, label = held(LabelledCase(str(item["name"]), Path(item["image"]), Path(item["label"])))
        truth = label.long()
        with torch.inference_mode():
            base = parts.inferer.run(image, parts.network)
            plain = replace(parts, network=_without_clicks(parts.network))
            one, spent = _clicked(parts, image, truth, base.mosaic)
            curves["clicks"].append(one)
            seconds.extend(spent)
            curves["clicks without the network"].append(_clicked(plain, image, truth, base.mosaic)[0])
            curves["windows by uncertainty"].append(
                _windows(parts.inferer, image, truth, parts.network, len(base.windows))
            )
    figures: dict[str, Any] = {
        key: {str(n): round(float(np.mean([c[i] for c in curve])), 4) for i, n in enumerate(CLICKS)}
        for key, curve in curves.items()
    }
    worst = sorted(range(len(cases)), key=lambda i: curves["clicks"][i][0])[: max(1, len(cases) // 4)]
    figures["worst quarter"] = {
        key: {str(n): round(float(np.mean([curve[k][i] for k in worst])), 4) for i, n in enumerate(CLICKS)}
        for key, curve in curves.items()
    }
    record(
        "clicks",
        name,
        {**figures, "cases": len(cases), "weights": weights, "seconds_per_click": round(statistics.median(seconds), 3)},
    )


def _without_clicks(network: Any) -> Any:
    from monai_dis.networks import TwoStageNet

    return TwoStageNet(network.coarse, network.refine, network.conditioning, network.scorer).eval()


def _clicked(model: Model, image: torch.Tensor, truth: torch.Tensor, mosaic: Any) -> tuple[list[float], list[float]]:
    made: list[Click] = []
    dices, seconds = [], []
    for number in range(CLICKS[-1] + 1):
        answer = mosaic.compose()
        if number in CLICKS:
            dices.append(_dice(answer, truth))
        place = largest_error(answer, truth, outside=1.0)[0]
        if place is not None:
            start = time.perf_counter()
            made.append(Click(tuple(float(p) for p in place), int(truth[(0, 0, *place)])))
            mosaic, *_ = with_click(mosaic, image, model.network, made, model.inferer.settings)
            seconds.append(time.perf_counter() - start)
    return dices, seconds


@torch.no_grad()
def _windows(
    inferer: IterativeInferer, image: torch.Tensor, truth: torch.Tensor, network: Any, base: int
) -> list[float]:
    return [_dice(inferer.with_budget(Budget(windows=base + n)).run(image, network).logits(), truth) for n in CLICKS]


def _dice(answer: torch.Tensor, truth: torch.Tensor) -> float:
    """Mean over the foreground classes that are there."""
    found = (answer > 0).long() if answer.shape[1] == 1 else answer.argmax(dim=1, keepdim=True)
    classes = max(2, answer.shape[1])
    hot, true_hot = (one_hot(indices, classes) for indices in (found, truth))
    return float(compute_dice(hot, true_hot, include_background=False).nanmean())


@app.command(
    help="Dice against the number of labelled cases: expected gain against random, coarse networks from nothing."
)
def learning(
    data: Annotated[Path, typer.Option(help="Folder with images, labels and splits.json.")],
    name: Annotated[str, typer.Option(help="Of the row in the results.")],
    seeds: Annotated[int, typer.Option(help="Repetitions.")] = 3,
    steps: Annotated[int, typer.Option(help="Training steps at each size.")] = 150,
    sizes: Annotated[str, typer.Option(help="Numbers of labelled cases.")] = "2,4,8,12",
    scale: Annotated[int, typer.Option(help="Of the grid on which the networks work.")] = 6,
) -> None:
    from monai_dis.inferers.grid import grid_size, resample

    wanted = [int(part) for part in sizes.split(",")]
    dataset = read_dataset("folder", data)
    volumes: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    for split in ("train", "val"):
        volumes[split] = []
        for item in track(list(dataset.datalist(split)), f"reading {split}"):
            image = torch.as_tensor(read_image(item["image"]))[None].float()
            label = torch.as_tensor(read_image(item["label"]))[None].float()
            grid = tuple(8 * -(-n // 8) for n in grid_size(image.shape[2:], scale))
            small = resample((image - image.mean()) / image.std(), grid)
            volumes[split].append((small, (resample(label, grid) >= 0.5).float()))
    curves: dict[str, list[list[float]]] = {"expected gain": [], "random": []}
    for seed in range(seeds):
        for strategy, curve in curves.items():
            curve.append(_learn(volumes, strategy, seed, wanted, steps))
            typer.echo(f"seed {seed}, {strategy}: {[round(v, 4) for v in curve[-1]]}")
    figures = {
        key: {str(n): {"mean": round(float(np.mean([c[i] for c in curve])), 4), "sd": round(float(np.std([c[i] for c in curve])), 4)}
              for i, n in enumerate(wanted)} for key, curve in curves.items()
    }  # fmt: skip
    record(
        "learning", name, {**figures, "seeds": seeds, "steps": steps, "scale": scale, "val_cases": len(volumes["val"])}
    )


def _learn(volumes: Any, strategy: str, seed: int, sizes: list[int], steps: int) -> list[float]:
    from monai.losses import DiceCELoss
    from monai.networks.nets import UNet

    torch.manual_seed(seed)
    chance = np.random.default_rng(seed)
    pool = volumes["train"]
    labelled = [int(i) for i in chance.permutation(len(pool))[: sizes[0]]]  # both strategies begin with the same cases
    dices = []
    for size in sizes:
        if len(labelled) < size:
            rest = [i for i in range(len(pool)) if i not in labelled]
            if strategy == "random":
                labelled += [int(i) for i in chance.permutation(rest)[: size - len(labelled)]]
            else:
                ranked = sorted(rest, key=lambda i: -_gain(network, pool[i][0]))
                labelled += ranked[: size - len(labelled)]
        torch.manual_seed(seed)
        network = UNet(3, 1, 1, channels=(8, 16, 32), strides=(2, 2), num_res_units=1, norm="INSTANCE")
        optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
        loss = DiceCELoss(sigmoid=True)
        for _ in range(steps):
            image, label = pool[labelled[int(chance.integers(len(labelled)))]]
            optimizer.zero_grad()
            loss(network(image * float(chance.uniform(0.8, 1.2)) + float(chance.uniform(-0.2, 0.2))), label).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            dices.append(float(np.mean([_dice(network(image), label) for image, label in volumes["val"]])))
    return dices


def _gain(network: Any, image: torch.Tensor) -> float:
    """As `monai_dis.label.scores.expected_gain` for a network without a scorer: entropy for each voxel of foreground."""
    from monai_dis.inferers.score import uncertainty

    with torch.no_grad():
        logits = network(image)
        area = max(float((logits > 0).sum()), 0.1 * logits.numel())
        return float(uncertainty(logits, activation="sigmoid").sum()) / area


if __name__ == "__main__":
    app()
