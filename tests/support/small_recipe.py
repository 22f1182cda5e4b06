"""A recipe of two small stages that train in a second, and the cases for it: what training says of itself is tested on these."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["write_bright_cases", "write_small_recipe"]

_STAGE = """
imports:
- $import monai_dis.data as dis_data
- $import monai_dis.engines as dis_engines

bundle_root: .
data_dir: data
dataset_name: folder
work_dir: work
stage_name: stage
stage_dir: $@work_dir + '/' + @stage_name
device: cpu
workers: 0
num_classes: 2
label_map: null
label_geometry: reject
fold: null
folds: 3
cases: $dis_data.labelled_dataset(@dataset_name, @data_dir, @num_classes, label_map=@label_map, geometry=@label_geometry)
train_list: $@cases.datalist('train', fold=@fold, folds=@folds)
epochs: 2
steps_per_epoch: 2
batch_size: 2
windows_per_image: 1
learning_rate: 0.01
seed: 0
train_dataset:
  _target_: CacheDataset
  data: '@train_list'
  progress: false
  transform:
    _target_: Compose
    transforms:
    - {_target_: monai_dis.data.ReadImaged, keys: image}
    - _target_: monai_dis.data.LoadLabeld
      keys: label
      num_classes: '@num_classes'
      label_map: '@label_map'
      geometry: '@label_geometry'
    - {_target_: EnsureTyped, keys: [image, label], dtype: $torch.float32, track_meta: false}
train_loader:
  _target_: DataLoader
  dataset: '@train_dataset'
  batch_size: $dis_engines.cases_per_batch(@batch_size, @windows_per_image)
  shuffle: true
  drop_last: true
network_def: {_target_: torch.nn.Conv2d, in_channels: 3, out_channels: 1, kernel_size: 1}
network: $@network_def.to(@device)
optimizer: {_target_: torch.optim.AdamW, params: $@network.parameters(), lr: '@learning_rate'}
schedule:
  _target_: monai_dis.engines.OneCycle
  optimizer: '@optimizer'
  max_lr: '@learning_rate'
  epochs: '@epochs'
  steps_per_epoch: '@steps_per_epoch'
  pct_start: 0.1
handlers:
- {_target_: LrScheduleHandler, lr_scheduler: '@schedule', epoch_level: false, print_lr: false}
- _target_: monai_dis.engines.ResumingCheckpoint
  folder: '@stage_dir'
  objects: {network: '@network', optimizer: '@optimizer', schedule: '@schedule'}
trainer:
  _target_: monai_dis.engines.StageTrainer
  device: '@device'
  max_epochs: '@epochs'
  epoch_length: '@steps_per_epoch'
  train_data_loader: '@train_loader'
  network: '@network'
  optimizer: '@optimizer'
  loss_function: {_target_: DiceCELoss, sigmoid: true}
  iteration_update: {_target_: monai_dis.engines.TrainingStep}
  decollate: false
  train_handlers: '@handlers'
run:
- $monai.utils.set_determinism(@seed)
- $@trainer.run()
- $dis_engines.export_weights(@network, @stage_dir + '.pt')
"""

_TRAIN = """
imports:
- $import monai_dis.engines as dis_engines
bundle_root: .
data_dir: data
dataset_name: folder
work_dir: $@bundle_root + '/work'
model_file: $@bundle_root + '/models/model.pt'
epochs: null
steps_per_epoch: null
batch_size: null
label_map: null
label_geometry: null
device: null
stages:
- {overlay: coarse, fold: 0}
- {overlay: refine}
overrides:
  data_dir: '@data_dir'
  dataset_name: '@dataset_name'
  epochs: '@epochs'
  steps_per_epoch: '@steps_per_epoch'
  batch_size: '@batch_size'
  label_map: '@label_map'
  label_geometry: '@label_geometry'
  device: '@device'
run:
- $dis_engines.run_stages(@bundle_root + '/configs', @stages, @work_dir, @overrides)
- "$dis_engines.assemble({'coarse': @work_dir + '/coarse_fold0.pt', 'refine': @work_dir + '/refine.pt'}, @model_file)"
"""


def write_small_recipe(folder: Path) -> Path:
    """Write a bundle with the recipe into a folder."""
    configs = folder / "configs"
    configs.mkdir(parents=True)
    for name, text in (("stage", _STAGE), ("train", _TRAIN), ("coarse", "seed: 1\n"), ("refine", "seed: 2\n")):
        (configs / f"{name}.yaml").write_text(text)
    form = {"type": "image", "format": "magnitude", "num_channels": 3, "spatial_shape": [24, 16], "modality": "RGB"}
    formats = {"inputs": {"image": form}, "outputs": {"pred": {**form, "num_channels": 1}}}
    metadata = {"name": "Small", "version": "0.0.1", "network_data_format": formats}
    (configs / "metadata.json").write_text(json.dumps(metadata))
    return folder


def write_bright_cases(folder: Path, count: int, *, value: int = 1, seed: int = 0, val: int = 1) -> Path:
    """Pictures with a bright half, their masks of ``value``, and the last ones for validation."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((24, 16), np.uint8)
    mask[:, 8:] = value
    names = [f"case{index}" for index in range(count)]
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name in names:
        image = np.where(mask[..., None] > 0, 200, 40) + rng.integers(0, 20, (24, 16, 3))
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"{name}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    (folder / "splits.json").write_text(json.dumps({"train": names[: count - val], "val": names[count - val :]}))
    return folder
