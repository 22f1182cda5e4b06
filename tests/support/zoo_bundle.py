"""Bundles as MONAI's model zoo has them, which know nothing of monai_dis: written by the tests, with weights of a fixed seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from monai.networks.nets import UNet

__all__ = ["NETWORK", "inference", "write_bundle"]

NETWORK: dict[str, Any] = {"channels": [4, 8, 16], "strides": [2, 2], "num_res_units": 1, "norm": "batch"}


def inference(dims: int, channels: int) -> dict[str, Any]:
    """An ``inference`` config in the model zoo's style, with its evaluator, data set, handlers and saving."""
    roi = [32] * 2 if dims == 2 else [16] * 3
    pixdim = [1.0, 1.0] if dims == 2 else [1.5, 1.5, 2.0]
    spacing = [] if dims == 2 else [
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
        {"_target_": "Spacingd", "keys": "image", "pixdim": pixdim, "mode": "bilinear"},
    ]  # fmt: skip
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "image_key": "image",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/nowhere/on/any/machine",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "UNet", "spatial_dims": dims, "in_channels": channels, "out_channels": 2, **NETWORK,
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "@image_key"},
                {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
                *spacing,
                {"_target_": "ScaleIntensityd", "keys": "@image_key", "minv": -1, "maxv": 1},
                {"_target_": "EnsureTyped", "keys": "@image_key"},
            ],
        },
        "dataset": {
            "_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 4},
        "inferer": {
            "_target_": "SlidingWindowInferer", "roi_size": roi, "sw_batch_size": 4, "overlap": 0.625, "mode": "gaussian",
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {
                    "_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "@image_key",
                    "nearest_interp": False, "to_tensor": True,
                },
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
            ],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
            },
            {"_target_": "StatsHandler", "iteration_log": False},
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@dataloader", "network": "@network",
            "inferer": "@inferer", "postprocessing": "@postprocessing", "val_handlers": "@handlers", "amp": True,
        },
        "run": ["$@evaluator.run()"],
    }  # fmt: skip


def write_bundle(
    folder: Path, dims: int, channels: int, config: dict[str, Any] | None = None, *, suffix: str = "json"
) -> Path:
    """A bundle's folder.

    Args:
        folder: to make.
        dims: spatial dimensions.
        channels: of the image.
        config: in place of `inference`.
        suffix: of the config file.
    """
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    config = inference(dims, channels) if config is None else config
    text = json.dumps(config) if suffix == "json" else yaml.safe_dump(config, sort_keys=False)
    (folder / "configs" / f"inference.{suffix}").write_text(text)
    form = {"type": "image", "format": "magnitude", "num_channels": channels, "spatial_shape": [32] * dims}
    labels = {"0": "background", "1": "spleen"}
    metadata = {
        "schema": "meta_schema_20240725.json",
        "version": "0.5.0",
        "name": "Spleen",
        "task": "spleen segmentation",
        "network_data_format": {
            "inputs": {"image": form},
            "outputs": {"pred": {"type": "image", "num_channels": 2, "channel_def": labels}},
        },
    }
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    generator_state = torch.get_rng_state()
    torch.manual_seed(3)
    network = UNet(dims, channels, 2, **NETWORK)
    torch.set_rng_state(generator_state)
    torch.save({"model": network.state_dict(), "epoch": 7}, folder / "models" / "model.pt")
    return folder
