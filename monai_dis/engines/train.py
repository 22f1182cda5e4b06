"""Train a bundle by its own recipe, into a folder of its own, so that the bundle that is there stays as it is."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle.scripts import run as run_bundle

from monai_dis.errors import BundleError, DisError, OutputError

__all__ = ["train_bundle"]

_COPIED = ("configs", "docs")


def train_bundle(
    bundle: str | Path,
    *,
    data_dir: str | Path,
    output_dir: str | Path,
    device: torch.device | str = "cpu",
    overrides: Mapping[str, Any] | None = None,
) -> Path:
    """Run ``configs/train.yaml`` of a bundle, which is what ``python -m monai.bundle run`` does with it.

    A run that was killed goes on when it is started again with the same ``output_dir``.

    Args:
        bundle: folder of the bundle whose configs are used.
        data_dir: folder of the training data.
        output_dir: becomes a bundle of its own: configs and docs are copied, ``work`` holds checkpoints and TensorBoard files, and
            ``models/model.pt`` comes last.
        device: where the networks are trained.
        overrides: entries of the train config to replace, such as ``epochs``.

    Returns:
        The file of the trained weights.

    Raises:
        BundleError: when the bundle has no recipe.
        OutputError: when the output folder cannot be written.
        DataError: when the data cannot be read.
    """
    source, target = Path(bundle), Path(output_dir).absolute()
    if not (source / "configs" / "train.yaml").is_file():
        raise BundleError(f"the bundle {source} has no configs/train.yaml; it can be used but not trained.")
    try:
        for name in _COPIED:
            if (source / name).is_dir() and not (target / name).is_dir():
                shutil.copytree(source / name, target / name)
        if (source / "LICENSE").is_file():
            shutil.copyfile(source / "LICENSE", target / "LICENSE")
    except OSError as error:
        raise OutputError(f"{target} cannot be written ({error.strerror}); choose another output folder.") from error
    try:
        run_bundle(
            config_file=[str(target / "configs" / "train.yaml")],
            bundle_root=str(target),
            data_dir=str(Path(data_dir).absolute()),
            device=str(device),
            **dict(overrides or {}),
        )
    except RuntimeError as error:
        # MONAI wraps what an expression raised, once for each recipe and stage; the sentence for the user is inside.
        root: BaseException | None = error
        while root is not None and not isinstance(root, DisError):
            root = root.__cause__ or root.__context__
        raise root or error from error
    return target / "models" / "model.pt"
