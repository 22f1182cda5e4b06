"""The operations of ONNX that OpenVINO is trusted with.

A wrong answer is noticed by comparing; a crash inside the runtime ends the process before anything can be compared. So models with other
operations are refused by name, before OpenVINO sees them: sampling at places that are computed, loops and branches, and whatever else
has a result whose size depends on values.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from monai_dis.errors import BackendError
from monai_dis.runtimes.extra import require

__all__ = ["TRIED", "refuse_untried"]

_ELEMENTS = (
    "Abs Add And Cast Ceil Clip Cos Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish LeakyRelu Less "
    "LessOrEqual Log Max Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt Sub "
    "Sum Tanh ThresholdedRelu Where Xor"
)
_SHAPES = (
    "Concat Constant ConstantOfShape DepthToSpace Expand Flatten Gather GatherElements Identity Pad Range Reshape Shape Size Slice "
    "SpaceToDepth Split Squeeze Tile Transpose Unsqueeze"
)
_SUMS = (
    "ArgMax ArgMin AveragePool BatchNormalization Conv ConvTranspose CumSum Einsum Gemm GlobalAveragePool GlobalMaxPool "
    "GroupNormalization InstanceNormalization LayerNormalization LogSoftmax LpNormalization MatMul MaxPool ReduceL1 ReduceL2 "
    "ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Resize Softmax"
)

#: Arithmetic, convolution, pooling, normalisation, attention, resizing and shapes.
TRIED = frozenset(f"{_ELEMENTS} {_SHAPES} {_SUMS}".split())


def refuse_untried(content: bytes) -> None:
    """Refuse a model with other operations.

    Args:
        content: of an ONNX file.

    Raises:
        BackendError: with their names.
    """
    onnx = require("onnx", "openvino")
    model = onnx.load_model_from_string(content)
    functions = {function.name for function in model.functions}
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    others = sorted(set(_names(nodes)) - TRIED - functions)
    if others:
        raise BackendError(f"the network has operations that are not used with openvino ({', '.join(others)}).")


def _names(nodes: Iterable[Any]) -> Iterable[str]:
    return (node.op_type for node in nodes)
