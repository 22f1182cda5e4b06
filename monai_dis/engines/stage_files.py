"""The weights that a training stage leaves: plain state dicts."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import torch
from torch import nn

from monai_dis.data.atomic import atomic_path

__all__ = ["export_weights", "is_first_process", "save_state"]


def export_weights(network: nn.Module, path: str | Path) -> None:
    """Write a plain state dict, which ``torch.load(weights_only=True)`` reads; in a distributed run the first process does."""
    if not is_first_process():
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    save_state(state, path)


def save_state(state: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """Write tensors by name; equal tensors give equal files, since the archive does not carry the file's temporary name."""
    buffer = BytesIO()
    torch.save(dict(state), buffer)
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(buffer.getvalue())


def is_first_process() -> bool:
    """Whether this process writes what all of a distributed run would write alike."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not distributed or torch.distributed.get_rank() == 0
