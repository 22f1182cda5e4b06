"""Weights of a bundle: plain state dicts, loaded strictly and without running code."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from monai_dis.errors import BundleError

__all__ = ["load_checkpoint", "load_weights", "weights_digest"]

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
    return _fill(network, _read_state(path), path)


def load_checkpoint(network: NetworkT, path: str | Path, names: Sequence[str] = ("model",)) -> NetworkT:
    """Load a checkpoint of MONAI's training into a network: a plain state dict, or one among others under a name.

    Args:
        network: where the weights go.
        path: a file of tensors in mappings; nothing else is read (``weights_only``).
        names: under which the network's state may lie.

    Returns:
        ``network`` itself, in evaluation mode.

    Raises:
        BundleError: as for `load_weights`.
    """
    path = Path(path)
    content = _read_file(path)
    if isinstance(content, Mapping):
        content = next((content[n] for n in names if isinstance(content.get(n), Mapping)), content)
    if not _is_state(content):
        raise BundleError(f"the weights {path} hold no state dict, neither plain nor under {' or '.join(names)}.")
    # What a parallel wrapper was saved with has its name before every key.
    state = {key.removeprefix("module."): value for key, value in content.items()}
    return _fill(network, state, path)


def _fill(network: NetworkT, state: Mapping[str, Tensor], path: Path) -> NetworkT:
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
    # Channels last: two-dimensional networks of the bundles take a fifth less time on a CPU, those of volumes none.
    convert_conv2d_weight_memory_format(network, torch.channels_last)
    return network.eval()


def weights_digest(network: nn.Module) -> str:
    """SHA-256 of all parameters and buffers, the same on every device: two equal digests, two equal networks."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(f"{key} {tuple(value.shape)} {value.dtype};".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read_state(path: Path) -> Mapping[str, Tensor]:
    state = _read_file(path)
    if not _is_state(state):
        raise BundleError(f"the weights {path} are not a plain state dict; save network.state_dict() alone.")
    return state


def _is_state(content: Any) -> TypeGuard[Mapping[str, Tensor]]:
    return isinstance(content, Mapping) and all(isinstance(value, Tensor) for value in content.values())


def _read_file(path: Path) -> Any:
    if not path.is_file():
        raise BundleError(f"the weights {path} are missing: train the bundle (monai-dis train) or restore the file.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BundleError(
            f"the weights {path} are damaged or hold more than tensors; only a plain state dict "
            "(torch.save(network.state_dict(), path)) is loaded."
        ) from error
    except (EOFError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise BundleError(
            f"the weights {path} cannot be read, the file is damaged or cut short; restore it."
        ) from error
