"""From a data folder to the poster's figures: train every stage, measure every arm, write results and pictures."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from monai_dis.data import read_dataset
from monai_dis.data.atomic import atomic_path
from monai_dis.data.output_folder import prepare_folder
from monai_dis.engines.recipe import run_stages
from monai_dis.engines.reproduce.cases import choose_picture, read_cases
from monai_dis.engines.reproduce.evaluation import evaluate
from monai_dis.engines.reproduce.experiment import Experiment
from monai_dis.engines.reproduce.figures import draw_figures
from monai_dis.engines.reproduce.parts import CONFIGS, image_preparation, load_networks, training_plan
from monai_dis.engines.reproduce.picture import draw_stages, follow_stages
from monai_dis.engines.reproduce.results import Results, summarise
from monai_dis.errors import DataError, OutputError
from monai_dis.pipeline.device import pick_device

__all__ = ["reproduce", "run_experiment"]

logger = logging.getLogger(__name__)


def reproduce(
    dataset: str,
    data_dir: str | Path,
    output_dir: str | Path,
    *,
    quick: bool = False,
    effort: float = 1.0,
    device: str | torch.device = "auto",
) -> Results:
    """Repeat the poster's experiment on one of its data sets.

    A run that was killed goes on when it is started again with the same arguments: finished stages and cases stay as they are, an
    unfinished stage goes on from its last epoch.

    Args:
        dataset: ``"ph2"``, ``"retina"`` or ``"kitti"``.
        data_dir: folder of the data set, in its official layout or the simple one.
        output_dir: gets ``results.json``, ``results.csv``, ``cases.csv``, ``results.md``, ``dice_vs_np.png``,
            ``dice_vs_operations.png``, ``stages.png``, and ``work`` with weights, checkpoints and TensorBoard files.
        quick: few steps on few cases, to see the whole way run in about two minutes; the figures mean nothing.
        effort: share of the poster's epochs; 1 is the poster's, days on a CPU. Every stage keeps a least number of steps, which is
            all that is left of them below about 0.01.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or a device.

    Raises:
        DataError: when the data set is unknown, or its folder missing or of another layout.
        OutputError: when the folder cannot be written, or holds another experiment.
    """
    return run_experiment(
        Experiment.of_poster(dataset, quick=quick, effort=effort), data_dir, output_dir, device=device
    )


def run_experiment(
    experiment: Experiment, data_dir: str | Path, output_dir: str | Path, *, device: str | torch.device = "auto"
) -> Results:
    """Run an experiment like the poster's, of any sizes; arguments, result and errors as for `reproduce`."""
    data, chosen = Path(data_dir).absolute(), pick_device(device)
    cases = read_dataset(experiment.dataset, data)
    train = cases.datalist("train")[: experiment.train_cases]
    val = cases.datalist("val")[: experiment.val_cases]
    if not train or not val:
        raise DataError(
            f"{data} has {len(train)} training and {len(val)} validation cases; the experiment needs both, "
            "check its splits.json."
        )
    folder = prepare_folder(output_dir).absolute()
    work = folder / "work"
    _claim(work, experiment, [item["name"] for item in train])

    plan = training_plan(experiment, data)
    megapixels = sum(stage["megapixels"] for stage in plan.values())
    logger.info(
        "%s: %d training and %d validation cases, %d stages, %.0f megapixels to train on",
        experiment.dataset, len(train), len(val), len(plan), megapixels,
    )  # fmt: skip
    run_stages(
        CONFIGS, experiment.stages(), work, {**experiment.overrides(), "data_dir": str(data), "device": str(chosen)}
    )
    results = summarise(experiment, plan, evaluate(experiment, val, work, chosen))
    results.write(folder)
    draw_figures(results, folder)
    _draw_picture(experiment, val, work, folder, chosen)
    return results


def _claim(work: Path, experiment: Experiment, train: Sequence[str]) -> None:
    """Keep the settings beside the weights, so that no run goes on with weights that were trained otherwise."""
    settings = {**experiment.to_dict(), "train": list(train)}
    # How much is evaluated does not concern the weights.
    del settings["val_cases"]
    file = work / "experiment.json"
    if file.is_file():
        try:
            same = json.loads(file.read_text(encoding="utf-8")) == settings
        except ValueError:
            same = False
        if not same:
            raise OutputError(
                f"{work} holds an experiment with other settings or other data; choose another output folder, or delete that one."
            )
    work.mkdir(exist_ok=True)
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _draw_picture(
    experiment: Experiment, items: Sequence[Mapping[str, Any]], work: Path, folder: Path, device: torch.device
) -> None:
    item = choose_picture(items, experiment.dataset)
    if item is None:
        logger.info(
            "no stages.png: of RETINA only CHASE_DB1 images may be shown, and there is none among the validation cases"
        )
        return
    case = next(read_cases([item], image_preparation(experiment)))
    number = sorted(experiment.divisors)[len(experiment.divisors) // 2]
    stages = follow_stages(case, load_networks(experiment, work, device), experiment.coarse_scale, number, device)
    draw_stages(stages, folder / "stages.png")
