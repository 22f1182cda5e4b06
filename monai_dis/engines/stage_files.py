"""The files a training stage leaves: exported weights, out-of-fold coarse answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from monai_dis.data.atomic import atomic_path
from monai_dis.errors import DataError

__all__ = ["export_weights", "save_state", "with_coarse", "write_coarse"]


def export_weights(network: nn.Module, path: str | Path) -> None:
    """Write a plain state dict, which ``torch.load(weights_only=True)`` reads; in a distributed run the first process does."""
    if not _is_first():
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


def write_coarse(
    network: nn.Module, items: Iterable[Mapping[str, Any]], folder: str | Path, device: torch.device | str = "cpu"
) -> None:
    """Write the logits of ``network`` for each item as ``folder/<name>.npy``, ``(C, *grid)`` float32.

    Args:
        network: a coarse network that was not trained on these items.
        items: prepared items with ``image`` ``(C, *grid)`` on the coarse grid and ``name``.
        folder: where the files go; made when missing.
        device: where the network runs.
    """
    if not _is_first():
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    network.eval().to(device)
    with torch.no_grad():
        for item in items:
            logits = network(torch.as_tensor(item["image"]).float()[None].to(device))[0].float().cpu().numpy()
            with atomic_path(Path(folder) / f"{item['name']}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, logits)


def with_coarse(datalist: Iterable[Mapping[str, Any]], folder: str | Path) -> list[dict[str, Any]]:
    """Add the path of each case's out-of-fold coarse logits as ``coarse``.

    Raises:
        DataError: when one is missing, since a refine network must not be trained on answers of a network that saw the case.
    """
    items = [{**item, "coarse": str(Path(folder) / f"{item['name']}.npy")} for item in datalist]
    missing = [item["name"] for item in items if not Path(item["coarse"]).is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(items)} cases have no out-of-fold coarse answer in {folder} (first: {missing[0]}); "
            "train the coarse folds first, or run the whole recipe with `monai-dis train`."
        )
    return items


def _is_first() -> bool:
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not distributed or torch.distributed.get_rank() == 0
