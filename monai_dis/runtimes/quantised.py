"""Networks in int8: OpenVINO's model, quantised by NNCF after training on windows that the network really sees."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from monai_dis.data.atomic import TEMPORARY_PREFIX
from monai_dis.runtimes.agreement import INT8_TOLERANCE, relative_error
from monai_dis.runtimes.export_cache import is_there
from monai_dis.runtimes.exported import ExportedRun, Session, Size, as_float, size_of, tensors_of
from monai_dis.runtimes.extra import require
from monai_dis.runtimes.graph_digest import versions
from monai_dis.runtimes.openvino_session import OpenVino
from monai_dis.runtimes.recent import Recent

__all__ = ["QuantisedRun"]

Sample = list[np.ndarray]
_MOST_BYTES = 256 * 2**20  # of inputs kept for calibration
_MEMBERS = ("model.xml", "model.bin")
_RECIPE = "mixed, weights of seven bits"  # of quantisation, for keys
_MOST_CALLS = 300  # of the network; NNCF looks at no more


class QuantisedRun(ExportedRun):
    """Runs a network in int8.

    The export is compared with PyTorch before it is quantised, so that what int8 changes is rounding and nothing else; the int8 model
    is compared too, after it was made or read and by samples later, against a bound of its own (`INT8_TOLERANCE`). The ranges of values
    are read off inputs: those of the calls during `monai_dis.runtimes.calibrating`, else those of the first call.

    Args:
        original: the network, in evaluation mode.
        engine: OpenVINO.
        folder: where exports and quantised models are kept; they stay in memory when not given.

    Raises:
        BackendError: when a package is missing.
    """

    def __init__(self, original: nn.Module, engine: OpenVino, folder: Path | None = None) -> None:
        super().__init__(original, engine, folder)
        self.runtime = "openvino-int8"
        self._reads = engine.read_parts
        self._nncf = require("nncf", "openvino-int8")
        self._openvino = require("openvino", "openvino-int8")
        self._small: dict[Size | None, Any] = {}
        self._eight: Recent[tuple[Size, int], Session] = Recent(self._sessions.most)
        self._sessions = Recent(1)  # those in float32 are compared, and not used after that
        self.samples: list[Sample] = []
        self.recording = False

    @property
    def calibrated(self) -> bool:
        """Whether it has seen inputs."""
        return bool(self.samples or self._small)

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """The network's answer; as it is, while inputs are recorded."""
        given = tensors_of(inputs, kwargs, "openvino-int8")
        if self.recording:
            self._record(given)
            return self.original(*inputs)
        return super().__call__(*inputs)

    def session(self, inputs: Sequence[Tensor], threads: int) -> Session:
        """The int8 model for shapes whose float32 export was compared before."""
        size = size_of(inputs)

        def opened() -> Session:
            place = self.place(size)
            if place not in self._small:
                self._small[place] = self._quantised(place, inputs)
            return self.engine.open(self._small[place], as_float(inputs), threads)

        return self._eight.get((size, threads), opened)

    def differs(self, answer: Sequence[Tensor], expected: Sequence[Tensor]) -> str:
        """How an int8 answer differs from PyTorch's by more than it may; an empty string where it does not."""
        error = relative_error(answer, expected)
        return "" if error <= INT8_TOLERANCE else f"int8 changes the logits by {error:.1g} of their spread"

    def _record(self, inputs: Sequence[Tensor]) -> None:
        sample = [x.detach().cpu().numpy().copy() for x in as_float(inputs)]
        size = sum(x.nbytes for x in sample)
        if (
            len(self.samples) < _MOST_CALLS
            and sum(x.nbytes for each in self.samples for x in each) + size <= _MOST_BYTES
        ):
            self.samples.append(sample)

    def _quantised(self, place: Size | None, inputs: Sequence[Tensor]) -> Any:
        """The int8 model of an export, kept from an earlier run that saw the same inputs, or made now."""
        samples = [s for s in self.samples if place is None or tuple(x.shape[1:] for x in s) == place]
        samples = samples or [[x.detach().cpu().numpy() for x in as_float(inputs)]]
        kept = self.cache.path(
            f"{self.key(place)} {versions('openvino', 'nncf')} {_RECIPE} {_digest(samples)}", "-int8.zip"
        )
        if place is None:
            self.samples = []  # they served
        if kept is not None and is_there(kept):
            with contextlib.suppress(Exception):  # damaged: it is made anew
                return self._read(kept)
        with _quiet():
            parameters = self._nncf.AdvancedQuantizationParameters(
                # Weights of seven bits: without VNNI, a sum of two products of eight bits does not fit, and processors cut it off
                # without a word. So the answer is the same on every processor.
                overflow_fix=self._nncf.OverflowFix.ENABLE
            )
            model = self._nncf.quantize(
                self.models[place],
                self._nncf.Dataset(samples),
                # activations that fall below zero (PReLU) keep a range of their own
                preset=self._nncf.QuantizationPreset.MIXED,
                subset_size=len(samples),
                advanced_parameters=parameters,
            )
        self.cache.keep(kept, lambda temporary: self._write(model, temporary))
        return model

    def _write(self, model: Any, file: Path) -> None:
        """OpenVINO writes two files; one appears whole or not at all."""
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=file.parent) as folder:
            written = Path(folder) / "model.xml"
            self._openvino.save_model(model, str(written), compress_to_fp16=False)
            with zipfile.ZipFile(file, "w") as archive:
                for each in _MEMBERS:
                    archive.write(written.with_name(each), each)

    def _read(self, file: Path) -> Any:
        with zipfile.ZipFile(file) as archive:
            return self._reads(*(archive.read(each) for each in _MEMBERS))


def _digest(samples: Sequence[Sample]) -> str:
    digest = hashlib.sha256()
    for sample in samples:
        for x in sample:
            digest.update(f"{x.shape} {x.dtype};".encode())
            digest.update(np.ascontiguousarray(x).tobytes())
    return digest.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """NNCF prints progress bars to the terminal, where ours are."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
