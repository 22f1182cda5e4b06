"""Weights of a bundle: plain state dicts, loaded strictly and without running code."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from monai_dis.errors import BundleError

__all__ = ["load_weights", "weights_digest"]

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def load_weights(network: NetworkT, path: str | Path) -> NetworkT:
    """Load a plain state dict into a network, on the CPU, with every key accounted for.

    Args:
        network: where the weights go.
        path: a file written by ``torch.save(network.state_dict(), path)``.

    Returns:
        ``network`` itself, in evaluation mode.

    Raises:
        BundleError: when the file is missing, damaged, no state dict, or made for another network.
    """
    path = Path(path)
    state = _read_state(path)
    own = network.state_dict()
    missing, surplus = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    reshaped = sorted(key for key in own.keys() & state.keys() if own[key].shape != state[key].shape)
    if missing or surplus or reshaped:
        raise BundleError(
            f"the weights {path} do not fit the network of the config: {len(missing)} tensors missing, "
            f"{len(surplus)} unknown, {len(reshaped)} of another shape (first: {(missing + surplus + reshaped)[0]}); "
            "use the config that the weights were trained with."
        )
    network.load_state_dict(state)
    return network.eval()


def weights_digest(network: nn.Module) -> str:
    """SHA-256 of all parameters and buffers, the same on every device: two equal digests, two equal networks."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(f"{key} {tuple(value.shape)} {value.dtype};".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read_state(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise BundleError(f"the weights {path} are missing: train the bundle (monai-dis train) or restore the file.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BundleError(
            f"the weights {path} are damaged or hold more than tensors; only a plain state dict "
            "(torch.save(network.state_dict(), path)) is loaded."
        ) from error
    except (EOFError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise BundleError(
            f"the weights {path} cannot be read, the file is damaged or cut short; restore it."
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise BundleError(f"the weights {path} are not a plain state dict; save network.state_dict() alone.")
    return state
