"""Running a network as an exported model that is compared with PyTorch at every new shape before it is trusted.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``C`` classes, ``*spatial`` one to three axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from monai_dis.data.atomic import atomic_path
from monai_dis.errors import BackendError
from monai_dis.runtimes.agreement import largest_difference, reference_answer, tolerance_on
from monai_dis.runtimes.export import export_onnx, network_digest

__all__ = ["Engine", "ExportedRun", "Session", "Size", "as_float", "size_of", "tensors_of"]

Size = tuple[tuple[int, ...], ...]
"""Channels and spatial size of each input: its shape without the batch."""


class Session(Protocol):
    """A model that is ready to run."""

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The outputs, on the CPU."""


class Engine(Protocol):
    """What opens exported models."""

    name: str

    def read(self, content: bytes) -> Any:
        """A model from the bytes of an ONNX file."""

    def open(self, model: Any, inputs: Sequence[Tensor], threads: int) -> Session:
        """A session for inputs of the size of these."""


class ExportedRun:
    """Runs a network as an exported model.

    The network is exported once for any size. A size for which that export does not answer as PyTorch does gets an export of its own;
    where that differs too, the run ends with a sentence: a wrong answer is never used.

    Args:
        original: the network, in evaluation mode; takes and returns tensors alone (a list or dictionary of them, too).
        engine: what runs the export.
        folder: where exports are kept; they stay in memory when not given.

    Attributes:
        models: the exports that were compared, by size; None stands for any size.
    """

    def __init__(self, original: nn.Module, engine: Engine, folder: Path | None = None) -> None:
        self.original = original
        self.engine = engine
        self.folder = folder
        self.models: dict[Size | None, Any] = {}
        self._alone: set[Size] = set()  # sizes that need an export of their own
        self._sessions: dict[tuple[Size, torch.device, int], Session] = {}
        self._forms: dict[tuple[Any, ...], TreeSpec] = {}  # shapes that were compared, and the form of their answer
        self._digest = ""

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """The network's answer, on the device and in the type of the first input.

        Raises:
            BackendError: when the network cannot be exported, or the export answers otherwise than PyTorch.
        """
        given = tensors_of(inputs, kwargs, self.engine.name)
        # Mixed precision is PyTorch's own way to be fast; an export is made, and compared, in float32.
        with torch.autocast(given[0].device.type, enabled=False):
            return self._answer(given)

    def _answer(self, given: Sequence[Tensor]) -> Any:
        threads = torch.get_num_threads()
        shapes = (tuple(tuple(x.shape) for x in given), given[0].device)
        if shapes not in self._forms:
            self._forms[shapes] = self._compare(given, threads)
        answer = self.session(given, threads)(as_float(given))
        outputs = [y.to(given[0].device) for y in answer]
        dtype = given[0].dtype
        same = [y.to(dtype) if y.is_floating_point() and dtype.is_floating_point else y for y in outputs]
        return tree_unflatten(same, self._forms[shapes])

    def session(self, inputs: Sequence[Tensor], threads: int) -> Session:
        """What answers inputs of shapes that were compared before."""
        size = size_of(inputs)
        key = (size, inputs[0].device, threads)
        if key not in self._sessions:
            self._sessions[key] = self.engine.open(self.models[self.place(size)], as_float(inputs), threads)
        return self._sessions[key]

    def place(self, size: Size) -> Size | None:
        """Which export answers a size: its own, or None for the one for any size."""
        return size if size in self._alone else None

    def _compare(self, inputs: Sequence[Tensor], threads: int) -> TreeSpec:
        """Find the export that answers these inputs as PyTorch does; the form of the answer is returned."""
        expected, form = tree_flatten(reference_answer(self.original, inputs))
        size, key = size_of(inputs), (size_of(inputs), inputs[0].device, threads)
        if not all(isinstance(y, Tensor) for y in expected):
            raise BackendError(f"{self._name} returns more than tensors; run it with the runtime torch.")
        problem: BackendError | str = ""
        for own_size in (False, True) if size not in self._alone else (True,):
            place = size if own_size else None
            for content in self._candidates(place, inputs):
                try:
                    model = self.engine.read(content()) if callable(content) else content
                    session = self.engine.open(model, as_float(inputs), threads)
                    difference = largest_difference(session(as_float(inputs)), expected)
                except BackendError as error:
                    problem = error
                    continue
                except Exception as error:  # whatever the runtime raises: this export does not do
                    problem = f"{type(error).__name__}: {error}".splitlines()[0]
                    continue
                if difference <= tolerance_on(inputs[0].device):
                    self.models[place] = model
                    self._sessions.setdefault(key, session)
                    if own_size:
                        self._alone.add(size)
                    return form
                problem = f"the largest difference is {difference:.1g} of the largest logit"
        if isinstance(problem, BackendError):
            raise problem
        raise BackendError(
            f"{self._name} does not answer in {self.engine.name} as it does in PyTorch ({problem}); use the runtime torch."
        )

    def _candidates(self, place: Size | None, inputs: Sequence[Tensor]) -> Iterator[Any]:
        """The export at hand, else that of an earlier run, else a new one, each as a model or as what gives its bytes."""
        if place in self.models:
            yield self.models[place]
            return
        file = self.file(place, ".onnx")
        if file is not None and file.is_file():
            yield file.read_bytes

        def export() -> bytes:
            content = export_onnx(self.original, as_float(inputs), any_size=place is None)
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                with atomic_path(file) as temporary:
                    temporary.write_bytes(content)
            return content

        yield export

    def file(self, place: Size | None, suffix: str) -> Path | None:
        """Where the export for any size (None) or for one is kept."""
        if self.folder is None:
            return None
        self._digest = self._digest or network_digest(self.original)[:16]
        size = "any" if place is None else "_".join("x".join(map(str, each)) for each in place)
        return self.folder / f"{type(self.original).__name__}-{self._digest}-{size}{suffix}"

    @property
    def _name(self) -> str:
        return f"the network {type(self.original).__name__}"


def tensors_of(inputs: tuple[Any, ...], kwargs: dict[str, Any], runtime: str) -> list[Tensor]:
    """A network's inputs as plain tensors.

    Raises:
        BackendError: when something else is among them.
    """
    if kwargs or not inputs or not all(isinstance(x, Tensor) for x in inputs):
        raise BackendError(f"the runtime {runtime} gives a network tensors alone; use torch where it takes more.")
    return [x.as_tensor() if hasattr(x, "as_tensor") else x for x in inputs]


def as_float(inputs: Sequence[Tensor]) -> list[Tensor]:
    """The inputs in float32, which exports compute in; whole numbers stay."""
    return [x.float() if x.is_floating_point() else x for x in inputs]


def size_of(inputs: Sequence[Tensor]) -> Size:
    """The shapes of inputs without the batch."""
    return tuple(tuple(x.shape[1:]) for x in inputs)
