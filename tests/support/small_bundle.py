"""A small bundle whose answers are known, and a picture for it: fixtures for the conftest files of several folders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

__all__ = ["photo", "tiny_bundle", "write_tiny_bundle"]

# Brightness of a pixel in [0, 1], times this, minus half of it, is its logit: bright things are foreground.
GAIN = 20.0

INFERENCE = """
imports:
- $import monai_dis.bundle as dis_bundle

bundle_root: .
image_files: []
output_dir: out
mode: dis
windows: null
coverage: null
operations: null
overlap: null
overwrite: false
runtime: torch
runtime_cache: null
device: auto
label_names: {1: bright}

network_def:
  _target_: monai_dis.networks.TwoStageNet
  coarse: {_target_: torch.nn.Conv2d, in_channels: 3, out_channels: 1, kernel_size: 1}
  refine: {_target_: torch.nn.Conv2d, in_channels: 3, out_channels: 1, kernel_size: 1}
network: $dis_bundle.load_weights(@network_def, @bundle_root + '/models/model.pt')
preprocessing:
  _target_: Compose
  transforms:
  - {_target_: monai_dis.data.ReadImaged, keys: image}
  - {_target_: Resized, keys: image, spatial_size: [64, 64], mode: bilinear}
  - {_target_: ScaleIntensityRanged, keys: image, a_min: 0, a_max: 255, b_min: 0, b_max: 1}
inferer:
  _target_: monai_dis.inferers.IterativeInferer
  roi_size: [16, 16]
  overlap: 0
  levels: [8, 1]
  budget: {windows: 4}
postprocessing:
  _target_: Compose
  transforms:
  - {_target_: Invertd, keys: pred, transform: '@preprocessing', orig_keys: image, nearest_interp: false, to_tensor: true}
  - {_target_: Activationsd, keys: pred, sigmoid: true}
  - {_target_: AsDiscreted, keys: pred, threshold: 0.5}
evaluator:
  _target_: monai_dis.pipeline.Segmenter
  network: '@network'
  inferer: '@inferer'
  preprocessing: '@preprocessing'
  postprocessing: '@postprocessing'
  image_files: '@image_files'
  output_dir: '@output_dir'
  mode: '@mode'
  windows: '@windows'
  coverage: '@coverage'
  operations: '@operations'
  overlap: '@overlap'
  overwrite: '@overwrite'
  runtime: '@runtime'
  runtime_cache: '@runtime_cache'
  device: '@device'
  label_names: '@label_names'
  bundle_root: '@bundle_root'
run:
- $@evaluator.run()
"""

_EVALUATE_CHANGES = {
    "image_files: []": "data_dir: data\ndataset_name: folder\nsplit: all\nbudgets: null\nscores: null",
    "overwrite: false\n": "",
    "pipeline.Segmenter": "engines.Evaluation",
    "  image_files: '@image_files'\n": "  data: '@data_dir'\n  dataset_name: '@dataset_name'\n  split: '@split'\n"
    "  budgets: '@budgets'\n  scores: '@scores'\n",
    "  overwrite: '@overwrite'\n": "",
    "  runtime: '@runtime'\n  runtime_cache: '@runtime_cache'\n": "",
    "  bundle_root: '@bundle_root'\n": "",
}


def evaluate_config() -> str:
    """The evaluate config: the inference config with other inputs."""
    text = INFERENCE
    for old, new in _EVALUATE_CHANGES.items():
        assert old in text
        text = text.replace(old, new)
    return text


def metadata() -> dict[str, object]:
    """Metadata of the small bundle."""
    form = {"type": "image", "format": "magnitude", "num_channels": 3, "spatial_shape": [64, 64], "modality": "RGB"}
    return {
        "name": "Bright things",
        "version": "0.0.1",
        "task": "find what is bright",
        "network_data_format": {
            "inputs": {"image": form},
            "outputs": {"pred": {"type": "image", "num_channels": 1, "channel_def": {"0": "bright"}}},
        },
    }


def disc(
    width: int = 96, height: int = 80, radius: float = 20.0, centre: tuple[float, float] = (60.0, 30.0)
) -> np.ndarray:
    """(height, width, 3) picture of a bright disc on dark ground; the centre is (column, row)."""
    rows, columns = np.mgrid[:height, :width]
    inside = (columns - centre[0]) ** 2 + (rows - centre[1]) ** 2 <= radius**2
    return np.where(inside[..., None], 230, 20).repeat(3, axis=2).astype(np.uint8)


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Path:
    """A bundle of two one-layer networks that call bright pixels foreground."""
    return write_tiny_bundle(tmp_path)


def write_tiny_bundle(parent: Path) -> Path:
    """Write that bundle into a folder."""
    folder = parent / "tiny_bundle"
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata()))
    (folder / "configs" / "inference.yaml").write_text(INFERENCE)
    (folder / "configs" / "evaluate.yaml").write_text(evaluate_config())
    values = {"weight": torch.full((1, 3, 1, 1), GAIN / 3), "bias": torch.full((1,), -GAIN / 2)}
    state = {f"{stage}.{name}": value for stage in ("coarse", "refine") for name, value in values.items()}
    torch.save(state, folder / "models" / "model.pt")
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A PNG of a bright disc, off the centre so that a swapped or flipped axis shows."""
    path = tmp_path / "disc.png"
    Image.fromarray(disc()).save(path)
    return path
