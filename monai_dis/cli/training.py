"""`monai-dis train` and `monai-dis reproduce`: long runs that log what they do."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.logging import RichHandler

from monai_dis.bundle import find_bundle
from monai_dis.cli.console import err, out
from monai_dis.cli.quiet import quiet_third_parties
from monai_dis.errors import DataError

__all__ = ["run_reproduce", "run_train"]


def run_train(
    bundle: str, data: Path, output: Path, overrides: Mapping[str, Any], *, device: str, overwrite: bool = False
) -> None:
    """Train a bundle.

    Args:
        bundle: name or folder.
        data: folder of the training data.
        output: folder for the trained bundle.
        overrides: entries of its train config, from the command line.
        device: auto, cpu, cuda.
        overwrite: start anew where the output folder holds another training.
    """
    folder = find_bundle(bundle)
    _check_data(data)
    _log_progress()
    from monai_dis.engines.train import train_bundle
    from monai_dis.pipeline.device import pick_device

    train_bundle(
        folder,
        data_dir=data,
        output_dir=output,
        device=pick_device(device),
        overrides=dict(overrides),
        overwrite=overwrite,
    )
    out.print(f"the trained bundle is in {output}", highlight=False)


def run_reproduce(dataset: str, data: Path, output: Path, *, quick: bool, effort: float, device: str) -> None:
    """Reproduce the poster.

    Args:
        dataset: ph2, retina or kitti.
        data: folder of the data set.
        output: folder for the figures.
        quick: a few epochs only.
        effort: share of the poster's epochs.
        device: auto, cpu, cuda.
    """
    _check_data(data)
    _log_progress()
    from monai_dis.engines.reproduce import reproduce
    from monai_dis.pipeline.device import pick_device

    reproduce(dataset, data, output, quick=quick, effort=effort, device=pick_device(device))
    out.print(f"the figures are in {output}", highlight=False)


def _check_data(data: Path) -> None:
    if not data.is_dir():
        raise DataError(f"the data folder {data} does not exist; give the folder that holds the images and labels.")


def _log_progress() -> None:
    quiet_third_parties()
    logger = logging.getLogger("monai_dis")
    logger.setLevel(logging.INFO)
    logger.handlers = [RichHandler(console=err, show_path=False, show_level=False)]
    logger.propagate = False
