"""Instance and group normalisation as ONNX operations that add up few numbers at a time.

A runtime may sum all voxels of a channel one after the other in float32. Where most of them are the same, as over the ground of a masked
or defaced scan, what is rounded off lies on one side, and the mean of 200,000 voxels is off by 1e-4 of itself. PyTorch sums by halves.
Here the mean is taken axis by axis, and the variance from the differences to it. Sums and means take turns, as runtimes would make one
reduction of two of a kind.

Letters in shapes: ``B`` batch, ``C`` channels, ``G`` groups of them, ``*spatial`` one to three axes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["REVISION", "stable_norms"]

#: Changes whenever these operations do, so that exports of earlier versions are not taken for new ones.
REVISION = 1


def stable_norms() -> dict[Callable[..., Any], Callable[..., Any]]:
    """What ``torch.onnx.export`` puts in place of PyTorch's normalisations (its ``custom_translation_table``)."""
    return {torch.ops.aten.instance_norm.default: _instance_norm, torch.ops.aten.group_norm.default: _group_norm}


def _instance_norm(
    x: Any,
    weight: Any = None,
    bias: Any = None,
    running_mean: Any = None,
    running_var: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    cudnn_enabled: bool = False,
) -> Any:
    """(B, C, *spatial) to the same."""
    op, rank = _operations(), len(x.shape)
    if use_input_stats:
        normal = _normal(x, range(2, rank), eps)
    else:
        mean, variance = _over_channels(running_mean, rank), _over_channels(running_var, rank)
        normal = op.Div(op.Sub(x, mean), op.Sqrt(op.Add(variance, _number(eps))))
    return _scaled(normal, weight, bias, rank)


def _group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Any:
    """(B, C, *spatial) to the same."""
    op, rank = _operations(), len(x.shape)
    # (B, G, C / G, *spatial): a zero keeps an axis, and -1 is what is left
    sizes = op.Concat(
        op.Constant(value_ints=[0, num_groups, -1]), *([op.Shape(x, start=2)] if rank > 2 else []), axis=0
    )
    normal = _normal(op.Reshape(x, sizes), range(2, rank + 1), eps)
    return _scaled(op.Reshape(normal, op.Shape(x)), weight, bias, rank)


def _normal(x: Any, axes: range, eps: float) -> Any:
    op = _operations()
    centred = op.Sub(x, _mean(x, axes))
    return op.Div(centred, op.Sqrt(op.Add(_mean(op.Mul(centred, centred), axes), _number(eps))))


def _mean(x: Any, axes: range) -> Any:
    op = _operations()
    for turn, axis in enumerate(reversed(axes)):
        place = op.Constant(value_ints=[axis])
        if turn % 2 == 0:
            x = op.ReduceMean(x, place, keepdims=1)
        else:
            length = op.Cast(op.Shape(x, start=axis, end=axis + 1), to=1)
            x = op.Div(op.ReduceSum(x, place, keepdims=1), length)
    return x


def _scaled(x: Any, weight: Any, bias: Any, rank: int) -> Any:
    op = _operations()
    x = x if weight is None else op.Mul(x, _over_channels(weight, rank))
    return x if bias is None else op.Add(x, _over_channels(bias, rank))


def _over_channels(values: Any, rank: int) -> Any:
    op = _operations()
    return op.Reshape(values, op.Constant(value_ints=[1, -1, *[1] * (rank - 2)]))


def _number(value: float) -> Any:
    return _operations().Constant(value_float=value)


def _operations() -> Any:
    """ONNX's operations as onnxscript writes them, of the version that PyTorch exports to; the package is an extra."""
    from onnxscript import opset18

    return opset18
