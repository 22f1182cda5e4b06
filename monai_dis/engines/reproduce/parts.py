"""What the training configs describe, for the evaluation: the network's architecture and the preparation of images."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch
from monai.bundle.config_parser import ConfigParser
from monai.transforms.compose import Compose
from torch import nn

from monai_dis.bundle.weights import load_weights
from monai_dis.engines.recipe import stage_name
from monai_dis.engines.reproduce.arms import Networks
from monai_dis.engines.reproduce.experiment import Experiment

__all__ = ["CONFIGS", "image_preparation", "load_networks", "training_plan", "weight_files"]

CONFIGS = Path(__file__).with_name("configs")


def weight_files(experiment: Experiment, work: Path) -> dict[tuple[str, int], Path]:
    """The file of each stage's weights, by overlay and scale."""
    return {(stage["overlay"], stage["scale"]): work / f"{stage_name(stage)}.pt" for stage in experiment.stages()}


def load_networks(experiment: Experiment, work: Path, device: torch.device) -> Networks:
    """Load the trained networks of all stages, in evaluation mode."""
    plain: nn.Module = _config(experiment).get_parsed_content("network_def")

    def load(overlay: str, scale: int) -> nn.Module:
        return load_weights(deepcopy(plain), files[overlay, scale]).to(device)

    files = weight_files(experiment, work)
    return Networks(
        coarse=load("coarse", experiment.coarse_scale),
        refine={n: load("refine", n) for n in experiment.divisors},
        baseline={s: load("baseline", s) for s in experiment.baseline_scales},
    )


def image_preparation(experiment: Experiment) -> Compose:
    """The transforms that training applies to images, from the file to the square of ``hi_size``."""
    return Compose(_config(experiment).get_parsed_content("prepare_image"))


def training_plan(experiment: Experiment, data_dir: Path) -> dict[str, dict[str, float]]:
    """What each stage is trained for: epochs, steps, and the megapixels that pass through its network."""
    plan = {}
    for stage in experiment.stages():
        config = _config(experiment, stage["overlay"])
        config.update({"data_dir": str(data_dir), "scale": stage["scale"]})
        epochs, steps, batch = (
            int(config.get_parsed_content(key)) for key in ("epochs", "steps_per_epoch", "batch_size")
        )
        pixels = (experiment.hi_size // stage["scale"]) ** 2
        plan[stage_name(stage)] = {
            "epochs": epochs,
            "steps": epochs * steps,
            "megapixels": round(epochs * steps * batch * pixels / 1e6, 3),
        }
    return plan


def _config(experiment: Experiment, *overlays: str) -> ConfigParser:
    config = ConfigParser()
    config.read_config([str(CONFIGS / f"{name}.yaml") for name in ("stage", *overlays)])
    config.update(experiment.overrides())
    return config
