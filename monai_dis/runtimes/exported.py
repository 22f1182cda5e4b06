"""Running a network as an exported model that is compared with PyTorch at every new shape, and by samples after that.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``C`` classes, ``*spatial`` one to three axes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from monai_dis.errors import BackendError
from monai_dis.runtimes.agreement import is_sampled, largest_difference, reference_answer, tolerance_on
from monai_dis.runtimes.export import export_onnx
from monai_dis.runtimes.export_cache import ExportCache, is_there
from monai_dis.runtimes.graph_digest import computed_digest, versions
from monai_dis.runtimes.recent import Recent
from monai_dis.runtimes.stable_norm import REVISION

__all__ = ["Engine", "ExportedRun", "Session", "Size", "as_float", "size_of", "tensors_of"]

Size = tuple[tuple[int, ...], ...]
"""Channels and spatial size of each input: its shape without the batch."""

SessionKey = tuple[Size | None, torch.device, int]
"""The size that a session is for, or where its export is; device and threads."""

_MOST_SESSIONS = 4  # of a network; each holds the network once more, prepared for its size


class Session(Protocol):
    """A model that is ready to run."""

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The outputs, on the CPU."""


class Engine(Protocol):
    """What opens exported models."""

    name: str
    by_size: bool  # whether a session is for one size

    def read(self, content: bytes) -> Any:
        """A model from the bytes of an ONNX file."""

    def open(self, model: Any, inputs: Sequence[Tensor], threads: int) -> Session:
        """A session for inputs of the size of these."""


class ExportedRun:
    """Runs a network as an exported model.

    The network is exported once for any size. A size for which that export does not answer as PyTorch does gets an export of its own.
    The first calls of every size are compared with PyTorch, and samples of the later ones, one item of the batch each. Where none
    answers as PyTorch does, `BackendError` says so, and `RuntimeModule` goes on in PyTorch.

    Args:
        original: the network, in evaluation mode; takes and returns tensors alone (a list or dictionary of them, too).
        engine: what runs the export.
        folder: where exports are kept; they stay in memory when not given.
    """

    def __init__(self, original: nn.Module, engine: Engine, folder: Path | None = None) -> None:
        self.original = original
        self.engine = engine
        self.runtime = engine.name  # in messages
        self.cache = ExportCache(folder, type(original).__name__)
        self.models: dict[Size | None, Any] = {}  # the exports that were compared; None stands for any size
        self._alone: set[Size] = set()  # sizes that need an export of their own
        self._sessions: Recent[SessionKey, Session] = Recent(_MOST_SESSIONS)
        self._forms: dict[tuple[Any, ...], TreeSpec] = {}  # shapes that were compared, and the form of their answer
        self._calls: Counter[Size] = Counter()
        self.digest = ""  # of what the network computes

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """The network's answer, on the device and in the type of the first input.

        Raises:
            BackendError: when the network cannot be exported, or the export answers otherwise than PyTorch.
        """
        given = tensors_of(inputs, kwargs, self.runtime)
        # Mixed precision is PyTorch's own way to be fast; an export is made, and compared, in float32.
        with torch.autocast(given[0].device.type, enabled=False):
            return self._answer(given)

    def _answer(self, given: Sequence[Tensor]) -> Any:
        threads, size = torch.get_num_threads(), size_of(given)
        shapes = (tuple(tuple(x.shape) for x in given), given[0].device)
        if shapes not in self._forms:
            self._forms[shapes] = self._compare(given, threads)
        answer = self._run(self.session(given, threads), given)
        if is_sampled(self._calls[size]):
            self._sample(given, answer, self._calls[size])
        self._calls[size] += 1
        outputs = [y.to(given[0].device) for y in answer]
        dtype = given[0].dtype
        same = [y.to(dtype) if y.is_floating_point() and dtype.is_floating_point else y for y in outputs]
        return tree_unflatten(same, self._forms[shapes])

    def session(self, inputs: Sequence[Tensor], threads: int) -> Session:
        """What answers inputs of shapes that were compared before."""
        place = self.place(size_of(inputs))
        return self._sessions.get(
            self._key(place, inputs, threads), lambda: self._open(self.models[place], inputs, threads)
        )

    def _key(self, place: Size | None, inputs: Sequence[Tensor], threads: int) -> SessionKey:
        return (size_of(inputs) if self.engine.by_size else place, inputs[0].device, threads)

    def _open(self, model: Any, inputs: Sequence[Tensor], threads: int) -> Session:
        return self.engine.open(model, as_float(inputs), threads)

    def place(self, size: Size) -> Size | None:
        """Which export answers a size: its own, or None for the one for any size."""
        return size if size in self._alone else None

    def _run(self, session: Session, inputs: Sequence[Tensor]) -> list[Tensor]:
        try:
            return session(as_float(inputs))
        except Exception as error:  # whatever the runtime raises
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise BackendError(f"{self._name} fails in {self.runtime} ({reason}).") from error

    def differs(self, answer: Sequence[Tensor], expected: Sequence[Tensor]) -> str:
        """How an answer differs from PyTorch's by more than it may; an empty string where it does not."""
        difference = largest_difference(answer, expected)
        # an answer without a number differs too
        if difference <= tolerance_on(expected[0].device if expected else torch.device("cpu")):
            return ""
        return f"the largest difference is {difference:.1g} of the largest logit"

    def _sample(self, inputs: Sequence[Tensor], answer: Sequence[Tensor], call: int) -> None:
        """Compare one item of the batch with PyTorch's answer to it."""
        count = len(inputs[0]) if inputs[0].ndim else 1
        if any(x.ndim == 0 or len(x) != count for x in (*inputs, *answer)):
            item = slice(None)  # the first axis is no batch
        else:
            item = slice(call % count, call % count + 1)
        expected = tree_flatten(reference_answer(self.original, [x[item] for x in inputs]))[0]
        problem = self.differs([y[item] for y in answer], expected)
        if problem and count > 1:  # a network may look at the whole batch
            expected = tree_flatten(reference_answer(self.original, inputs))[0]
            problem = self.differs(answer, expected)
        if problem:
            raise self._disagreement(problem)

    def _compare(self, inputs: Sequence[Tensor], threads: int) -> TreeSpec:
        """Find the export that answers these inputs as PyTorch does; the form of the answer is returned."""
        expected, form = tree_flatten(self._reference(inputs))
        size = size_of(inputs)
        if not all(isinstance(y, Tensor) for y in expected):
            raise BackendError(f"{self._name} returns more than tensors.")
        problem: BackendError | str = ""
        for own_size in (False, True) if size not in self._alone else (True,):
            place = size if own_size else None
            key = self._key(place, inputs, threads)
            for content in self._candidates(place, inputs):
                try:
                    model = self.engine.read(content()) if callable(content) else content
                    if model is not self.models.get(place):
                        self._sessions.drop(key)  # it is of another export
                    session = self._sessions.get(key, partial(self._open, model, inputs, threads))
                    problem = found = ExportedRun.differs(self, session(as_float(inputs)), expected)
                except BackendError as error:
                    problem = error
                    continue
                except Exception as error:  # whatever the runtime raises: this export does not do
                    problem = f"{type(error).__name__}: {error}".splitlines()[0]
                    continue
                if not found:
                    self.models[place] = model
                    if own_size:
                        self._alone.add(size)
                    return form
        raise problem if isinstance(problem, BackendError) else self._disagreement(problem)

    def _reference(self, inputs: Sequence[Tensor]) -> Any:
        """PyTorch's answer; the first one tells what is computed, too."""
        if self.digest:
            return reference_answer(self.original, inputs)
        answer, self.digest = computed_digest(self.original, inputs, lambda: reference_answer(self.original, inputs))
        return answer

    def _candidates(self, place: Size | None, inputs: Sequence[Tensor]) -> Iterator[Any]:
        """The export at hand, else that of an earlier run, else a new one, each as a model or as what gives its bytes."""
        if place in self.models:
            yield self.models[place]
            return
        file = self.cache.path(self.key(place), ".onnx")
        if file is not None and is_there(file):
            yield file.read_bytes

        def export() -> bytes:
            content = export_onnx(self.original, as_float(inputs), any_size=place is None)
            self.cache.keep(file, lambda temporary: temporary.write_bytes(content))
            return content

        yield export

    def key(self, place: Size | None) -> str:
        """What the export for any size (None) or for one depends on: what is computed, and the versions of what wrote it."""
        size = "any" if place is None else "_".join("x".join(map(str, each)) for each in place)
        return f"{self.digest} {versions('torch', 'onnx', 'onnxscript')} {REVISION} {size}"

    def _disagreement(self, problem: str) -> BackendError:
        return BackendError(f"{self._name} does not answer in {self.runtime} as it does in PyTorch ({problem}).")

    @property
    def _name(self) -> str:
        return f"the network {type(self.original).__name__}"


def tensors_of(inputs: tuple[Any, ...], kwargs: dict[str, Any], runtime: str) -> list[Tensor]:
    """A network's inputs as plain tensors.

    Raises:
        BackendError: when something else is among them.
    """
    if kwargs or not inputs or not all(isinstance(x, Tensor) for x in inputs):
        raise BackendError(f"a network in {runtime} takes tensors alone.")
    return [x.as_tensor() if hasattr(x, "as_tensor") else x for x in inputs]


def as_float(inputs: Sequence[Tensor]) -> list[Tensor]:
    """The inputs in float32, which exports compute in; whole numbers stay."""
    return [x.float() if x.is_floating_point() else x for x in inputs]


def size_of(inputs: Sequence[Tensor]) -> Size:
    """The shapes of inputs without the batch."""
    return tuple(tuple(x.shape[1:]) for x in inputs)
