"""Checkpoints of a training stage, from which an interrupted run resumes."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver
from monai.handlers.checkpoint_loader import CheckpointLoader

from monai_dis.errors import BundleError, DataError

__all__ = ["ResumingCheckpoint", "latest_checkpoint"]

logger = logging.getLogger(__name__)

_EPOCH = re.compile(r"epoch=(\d+)\.pt$")
_TRAINER = "trainer"


class ResumingCheckpoint:
    """Save everything at the end of each epoch, and begin with the last whole checkpoint that is there.

    A handler of ours around ignite's and MONAI's, for two reasons. The trainer itself must be saved too (it counts the epochs), and a
    config cannot name the trainer among the arguments of the trainer's own handlers. And MONAI's saver writes in place after it has
    removed the last checkpoint, so that a run killed at that moment has none; here the one before stays until the new one is whole.

    Args:
        folder: where checkpoints go; made when missing.
        objects: name to object with ``state_dict``: networks, optimizer, schedule.
        interval: epochs between checkpoints.
    """

    def __init__(self, folder: str | Path, objects: Mapping[str, Any], interval: int = 1) -> None:
        self.folder = Path(folder)
        self.objects = dict(objects)
        self.interval = interval

    def attach(self, engine: Engine) -> None:
        """Attach to MONAI's trainer.

        Raises:
            DataError: when the checkpoint is of a longer training, or of epochs of another length.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = {**self.objects, _TRAINER: engine}
        latest = latest_checkpoint(self.folder, saved)
        if latest is not None:
            _check_length(latest, engine)
            engine.add_event_handler(Events.STARTED, _resume, latest, saved)
        saver = Checkpoint(
            saved,
            DiskSaver(str(self.folder), atomic=True, create_dir=False, require_empty=False),
            filename_pattern="checkpoint_epoch={global_step}.pt",
            global_step_transform=lambda trainer, _: trainer.state.epoch,
            n_saved=2,
        )
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), saver)


def latest_checkpoint(folder: str | Path, names: Collection[str] = ()) -> Path | None:
    """The checkpoint of the last epoch in ``folder`` that is whole; a broken one is passed over with a warning.

    Args:
        folder: of a stage.
        names: what a checkpoint must hold.

    Returns:
        None when there is no whole one, so that training begins anew.
    """
    found = [(int(match[1]), path) for path in Path(folder).glob("*.pt") if (match := _EPOCH.search(path.name))]
    for _, path in sorted(found, reverse=True):
        content = _content(path)
        if content and {*names} <= content.keys():
            return path
        logger.warning("the checkpoint %s is broken or cut short; the one before it is used", path)
    return None


def _content(path: Path) -> Mapping[str, Any]:
    """What a checkpoint holds; nothing where it is broken."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError):
        return {}
    return content if isinstance(content, Mapping) else {}


def _check_length(path: Path, engine: Engine) -> None:
    state = _content(path)[_TRAINER]
    length = int(state["epoch_length"])
    done = int(state["iteration"]) // length if "iteration" in state else int(state["epoch"])
    epochs, steps = engine.state.max_epochs, engine.state.epoch_length
    if epochs is not None and done > epochs:
        raise DataError(
            f"{path.parent} holds a training of {done} epochs already, and {epochs} are asked for; ask for {done} or more, or train "
            "into another folder."
        )
    if steps is not None and steps != length:
        raise DataError(
            f"{path.parent} holds a training with {length} steps in an epoch, and {steps} are asked for; leave steps_per_epoch as it "
            "was, or train into another folder."
        )


def _resume(engine: Engine, path: Path, saved: Mapping[str, Any]) -> None:
    try:
        CheckpointLoader(str(path), dict(saved), map_location={"cuda:0": "cpu"})(engine)
    except (KeyError, RuntimeError, ValueError) as error:
        raise BundleError(
            f"the checkpoint {path} does not fit the networks of the config: another recipe wrote it; train into another folder."
        ) from error
