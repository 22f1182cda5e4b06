"""Checkpoints of a training stage from which a killed run goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver
from monai.handlers.checkpoint_loader import CheckpointLoader

__all__ = ["ResumingCheckpoint", "latest_checkpoint"]

_EPOCH = re.compile(r"epoch=(\d+)\.pt$")


class ResumingCheckpoint:
    """Save everything at the end of each epoch, and begin with the last checkpoint that is there.

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
        """Attach to MONAI's trainer."""
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = {**self.objects, "trainer": engine}
        latest = latest_checkpoint(self.folder)
        if latest is not None:
            CheckpointLoader(str(latest), saved, map_location={"cuda:0": "cpu"}).attach(engine)
        saver = Checkpoint(
            saved,
            DiskSaver(str(self.folder), atomic=True, create_dir=False, require_empty=False),
            filename_pattern="checkpoint_epoch={global_step}.pt",
            global_step_transform=lambda trainer, _: trainer.state.epoch,
            n_saved=2,
        )
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), saver)


def latest_checkpoint(folder: str | Path) -> Path | None:
    """Return the checkpoint of the last epoch in ``folder``, or None when training has not begun."""
    found = [(int(match[1]), path) for path in Path(folder).glob("*.pt") if (match := _EPOCH.search(path.name))]
    return max(found)[1] if found else None
