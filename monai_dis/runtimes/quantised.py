"""Networks in int8: OpenVINO's model, quantised by NNCF after training on windows that the network really sees."""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from monai_dis.runtimes.exported import ExportedRun, Session, Size, as_float, size_of, tensors_of
from monai_dis.runtimes.extra import require
from monai_dis.runtimes.openvino_session import OpenVino

__all__ = ["QuantisedRun"]

Sample = list[np.ndarray]
_MOST_BYTES = 256 * 2**20  # of inputs kept for calibration
_MOST_CALLS = 300  # of the network; NNCF looks at no more


class QuantisedRun(ExportedRun):
    """Runs a network in int8.

    The export is compared with PyTorch before it is quantised, so that what int8 changes is rounding and nothing else. The ranges of
    values are read off inputs: those of the calls during `monai_dis.runtimes.calibrating`, else those of the first call.

    Args:
        original: the network, in evaluation mode.
        engine: OpenVINO.
        folder: where exports and quantised models are kept; they stay in memory when not given.

    Raises:
        BackendError: when a package is missing.
    """

    def __init__(self, original: nn.Module, engine: OpenVino, folder: Path | None = None) -> None:
        super().__init__(original, engine, folder)
        self._nncf = require("nncf", "openvino-int8")
        self._openvino = require("openvino", "openvino-int8")
        self._small: dict[Size | None, Any] = {}
        self._eight: dict[tuple[Size, int], Session] = {}
        self.samples: list[Sample] = []
        self.recording = False

    @property
    def calibrated(self) -> bool:
        """Whether it has seen inputs, in this process or in an earlier one whose models were kept."""
        kept = self.file(None, "-int8")
        return bool(self.samples or self._small) or (kept is not None and kept.is_dir())

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
        if (size, threads) not in self._eight:
            place = self.place(size)
            if place not in self._small:
                self._small[place] = self._quantised(place, inputs)
            self._eight[size, threads] = self.engine.open(self._small[place], as_float(inputs), threads)
        return self._eight[size, threads]

    def _record(self, inputs: Sequence[Tensor]) -> None:
        sample = [x.detach().cpu().numpy().copy() for x in as_float(inputs)]
        size = sum(x.nbytes for x in sample)
        if (
            len(self.samples) < _MOST_CALLS
            and sum(x.nbytes for each in self.samples for x in each) + size <= _MOST_BYTES
        ):
            self.samples.append(sample)

    def _quantised(self, place: Size | None, inputs: Sequence[Tensor]) -> Any:
        """The int8 model of an export, kept from an earlier run or made now."""
        kept = self.file(place, "-int8")
        if kept is not None and kept.is_dir():
            with contextlib.suppress(Exception):  # damaged: it is made anew
                return self.engine.read(kept / "model.xml")  # type: ignore[arg-type]
        samples = [s for s in self.samples if place is None or tuple(x.shape[1:] for x in s) == place]
        samples = samples or [[x.detach().cpu().numpy() for x in as_float(inputs)]]
        with _quiet():
            model = self._nncf.quantize(
                self.models[place],
                self._nncf.Dataset(samples),
                # activations that fall below zero (PReLU) keep a range of their own
                preset=self._nncf.QuantizationPreset.MIXED,
                subset_size=len(samples),
            )
        if kept is not None:
            self._keep(model, kept)
        if place is None:
            self.samples = []  # they served
        return model

    def _keep(self, model: Any, folder: Path) -> None:
        """Both files of a model appear at once."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
        try:
            self._openvino.save_model(model, str(temporary / "model.xml"), compress_to_fp16=False)
            with contextlib.suppress(OSError):  # another process was faster
                temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


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
