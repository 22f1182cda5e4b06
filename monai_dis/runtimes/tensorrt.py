"""TensorRT on an NVIDIA GPU, through MONAI's ``trt_compile``.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``C`` classes, ``*spatial`` one to three axes.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from monai_dis.errors import BackendError
from monai_dis.runtimes.agreement import is_sampled, largest_difference, reference_answer, tolerance_on
from monai_dis.runtimes.export_cache import ExportCache, is_there
from monai_dis.runtimes.exported import Size, size_of, tensors_of
from monai_dis.runtimes.extra import require_tensorrt
from monai_dis.runtimes.graph_digest import computed_digest, versions

__all__ = ["TensorRtRun"]


class TensorRtRun:
    """Runs a network in TensorRT, in float32: one engine for each spatial size, for batches up to a power of two.

    Args:
        original: the network, in evaluation mode; takes tensors alone and returns one.
        folder: where engines are kept; a temporary folder when not given.

    Raises:
        BackendError: without a GPU, or when TensorRT is not installed.
    """

    def __init__(self, original: nn.Module, folder: Path | None = None) -> None:
        self._version = require_tensorrt().__version__
        self.original = original
        self.cache = ExportCache(folder, type(original).__name__)
        self._engines: dict[tuple[Size, int], Callable[..., Any]] = {}
        self._calls: Counter[Size] = Counter()
        self._compared: set[tuple[Size, int]] = set()

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """The network's answer.

        Raises:
            BackendError: on a CPU, or when the answer is not PyTorch's.
        """
        given = tensors_of(inputs, kwargs, "tensorrt")
        if given[0].device.type != "cuda":
            raise BackendError("the runtime tensorrt runs on a GPU; leave the device at auto, or choose cuda.")
        size, batch = size_of(given), len(given[0])
        most = [n for s, n in self._engines if s == size and n >= batch]
        key = (size, min(most) if most else max(2, 1 << (batch - 1).bit_length()))
        if key not in self._engines:
            self._engines[key] = self._build(given, key)
        answer = self._engines[key](*[x.contiguous() for x in given])
        if (size, batch) not in self._compared or is_sampled(self._calls[size]):
            self._compare(given, answer)
            self._compared.add((size, batch))
        self._calls[size] += 1
        # The engine's buffer is its own: the next call writes to it.
        return answer.to(given[0].dtype, copy=True) if isinstance(answer, Tensor) else answer

    def _build(self, inputs: Sequence[Tensor], key: tuple[Size, int]) -> Callable[..., Any]:
        from monai.networks.trt_compiler import trt_compile

        # MONAI changes the module that it is given, and the original still counts operations.
        module = copy.deepcopy(self.original)
        batch = key[1]
        settings: dict[str, Any] = {
            "precision": "fp32",
            "dynamic_batchsize": [1, batch, batch],
            "export_args": {"dynamo": True},
            "output_lists": [],
        }
        # A batch of one would become part of the export.
        examples = [torch.cat([x] * batch)[:batch].contiguous() for x in inputs]
        kept = self._file(key, inputs)
        with tempfile.TemporaryDirectory() as folder:
            plan = Path(folder) / "engine.plan"
            if kept is not None and is_there(kept):
                shutil.copyfile(kept, plan)
            compiled: nn.Module = trt_compile(module, str(plan.with_suffix("")), settings)
            with torch.no_grad():
                compiled(*examples)
            if kept is not None and not is_there(kept):
                self.cache.keep(kept, lambda temporary: shutil.copyfile(plan, temporary))
        return compiled

    def _file(self, key: tuple[Size, int], inputs: Sequence[Tensor]) -> Path | None:
        digest = computed_digest(self.original, inputs, lambda: reference_answer(self.original, inputs))[1]
        # An engine is made for one GPU and one version.
        place = f"{digest} {versions('torch', 'monai', 'onnx')} {self._version} {torch.cuda.get_device_name()} {key}"
        return self.cache.path(place, ".plan")

    def _compare(self, inputs: Sequence[Tensor], answer: Any) -> None:
        difference = largest_difference(
            tree_flatten(answer)[0], tree_flatten(reference_answer(self.original, inputs))[0]
        )
        if not difference <= tolerance_on(inputs[0].device):
            raise BackendError(
                f"the network {type(self.original).__name__} does not answer in tensorrt as it does in PyTorch (the largest "
                f"difference is {difference:.1g} of the largest logit)."
            )
