"""Train a bundle by its own recipe, into a folder of its own, so that the bundle that is there stays as it is."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle.scripts import run as run_bundle

from monai_dis.bundle import load_bundle
from monai_dis.engines.provenance import files_digest
from monai_dis.engines.recipe import own_error
from monai_dis.errors import BundleError, OutputError

__all__ = ["train_bundle"]

_COPIED = ("configs", "docs")
_LEFT = ("work", "models")


def train_bundle(
    bundle: str | Path,
    *,
    data_dir: str | Path,
    output_dir: str | Path,
    device: torch.device | str = "cpu",
    overrides: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Run ``configs/train.yaml`` of a bundle, which is what ``python -m monai.bundle run`` does with it.

    An interrupted run resumes when it is started again with the same arguments.

    Args:
        bundle: folder of the bundle whose configs are used.
        data_dir: folder of the training data.
        output_dir: becomes a bundle of its own: configs and docs are copied, ``work`` holds checkpoints and TensorBoard files, and
            ``models/model.pt`` comes last.
        device: where the networks are trained.
        overrides: entries of the train config to replace, such as ``epochs``.
        overwrite: start anew where the output folder holds another training, which is removed.

    Returns:
        The file of the trained weights.

    Raises:
        BundleError: when the bundle has no recipe, or the recipe has no such entry to override.
        OutputError: when the output folder cannot be written, or holds another training.
        DataError: when the data cannot be used.
    """
    source, target = Path(bundle).absolute(), Path(output_dir).absolute()
    if not (source / "configs" / "train.yaml").is_file():
        raise BundleError(f"the bundle {source} has no configs/train.yaml; it can be used but not trained.")
    load_bundle(source, "train", overrides)  # an entry that there is not would be taken without a word
    try:
        if overwrite:
            _remove_training(source, target)
        _copy(source, target)
    except OutputError:
        raise
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
        reason = own_error(error)
        if reason is None:
            raise
        raise reason from None
    return target / "models" / "model.pt"


def _copy(source: Path, target: Path) -> None:
    """Make the target a bundle like the source."""
    if target.exists() and target.samefile(source):
        return
    if (target / "configs").is_dir() and _digest(target) != _digest(source):
        raise OutputError(
            f"{target} holds another bundle than {source}, or another version of it; choose another output folder, or start anew with "
            "--overwrite."
        )
    for name in _COPIED:
        if (source / name).is_dir() and not (target / name).is_dir():
            shutil.copytree(source / name, target / name)
    if (source / "LICENSE").is_file():
        shutil.copyfile(source / "LICENSE", target / "LICENSE")


def _remove_training(source: Path, target: Path) -> None:
    """Remove the training that is in the target, and nothing else; a bundle that trains in its own folder keeps its configs."""
    if not (target / "configs" / "train.yaml").is_file():
        return
    in_place = target.samefile(source)
    if not (target / "work").is_dir():
        if not in_place:
            raise OutputError(f"{target} holds a bundle that was not trained there; choose another output folder.")
        return
    for name in ("work",) if in_place else (*_COPIED, *_LEFT):
        if (target / name).is_dir():
            shutil.rmtree(target / name)


def _digest(bundle: Path) -> str:
    return files_digest(sorted(file for file in (bundle / "configs").iterdir() if file.is_file()))
