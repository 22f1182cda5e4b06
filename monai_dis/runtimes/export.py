"""Networks as ONNX models, by ``torch.export``; TorchScript has no part in it.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``C`` classes, ``*spatial`` one to three axes.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from monai_dis.data.atomic import atomic_path
from monai_dis.errors import BackendError
from monai_dis.runtimes.extra import require
from monai_dis.runtimes.stable_norm import stable_norms

__all__ = ["export_onnx"]


def export_onnx(
    network: nn.Module, inputs: Sequence[Tensor], path: str | Path | None = None, *, any_size: bool = True
) -> bytes:
    """A network as an ONNX model, for any batch size.

    An export for any spatial size can be wrong for sizes unlike the example's, and no tool says so: where a network pads or crops by
    a rule, the export keeps what the rule gave for the example. `with_runtime` compares every shape with PyTorch before it is used.

    Args:
        network: in evaluation mode; takes tensors alone.
        inputs: examples, (B, Ci, *spatial) each; the values do not count.
        path: file to write, whole or not at all; its folder must exist.
        any_size: leave the spatial size open; otherwise it is the example's.

    Returns:
        The content of the file.

    Raises:
        BackendError: when the network cannot be exported, or a package is missing.
    """
    for package in ("onnx", "onnxscript"):
        require(package, "onnx")
    # A batch of one would become part of the model.
    examples = tuple(torch.cat([x, x])[:2].detach() for x in inputs)
    axes = [range(2, x.ndim) if any_size else range(0) for x in examples]
    shapes = tuple(dict.fromkeys((0, *each), torch.export.Dim.AUTO) for each in axes)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                network,
                examples,
                dynamo=True,
                dynamic_shapes=shapes,
                custom_translation_table=stable_norms(),
                verbose=False,
            )
            assert program is not None
            content: bytes = program.model_proto.SerializeToString()
    except Exception as error:
        raise BackendError(
            f"the network {type(network).__name__} cannot be exported to ONNX ({_reason(error)})."
        ) from error
    if path is not None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    return content


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of packages that it does not need and of its own changes to come."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
