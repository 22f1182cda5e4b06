"""One image from file to labels on its own grid: read, prepare, infer, finish. Segmentation and evaluation share it.

Letters in shapes: ``C`` channels, ``*spatial`` the image's axes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.post.dictionary import Invertd
from monai.transforms.utility.array import EnsureChannelFirst
from torch import Tensor, nn

from monai_dis.data.images import check_readable
from monai_dis.errors import DisError, ImageError, OutOfMemoryError
from monai_dis.inferers.score import hard_labels
from monai_dis.inferers.score import uncertainty as uncertainty_of
from monai_dis.pipeline.device import PeakMemory
from monai_dis.pipeline.modes import Runner
from monai_dis.pipeline.network_input import NetworkInput, check_axes, check_image
from monai_dis.pipeline.window_outlines import Box, boxes_of

__all__ = ["Prediction", "Predictor", "Prepared", "Stopwatch", "enough_memory"]


class Stopwatch:
    """Seconds by stage; on a GPU each stage waits for its kernels, so that time is booked where it is spent."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class Prediction:
    """The answer for one image.

    Attributes:
        labels: (C or 1, *spatial) on the grid of the file: class indices, or 0 and 1 for each overlapping class.
        num_classes: with the background.
        image: (C, *spatial) as read from the file; whole numbers in a type that just holds them.
        prepared_size: spatial size that the inferer saw.
        statistics: what the inferer says of its run, in plain JSON types.
        boxes: refined windows on the grid of the file.
        watch: seconds so far; later stages may be added.
        peak_memory_bytes: largest memory in use.
        uncertainty: (*spatial) on the grid of the file, 0 (certain) to 1 (no better than chance); None unless it was asked for.
    """

    labels: Tensor
    num_classes: int
    image: MetaTensor
    prepared_size: tuple[int, ...]
    statistics: Mapping[str, Any]
    boxes: tuple[Box, ...]
    watch: Stopwatch = field(repr=False)
    peak_memory_bytes: int
    uncertainty: Tensor | None = None

    def class_masks(self) -> Tensor:
        """(C, *spatial) bool, a mask for each class without the background, as overlapping classes have them."""
        if self.labels.shape[0] > 1:
            return self.labels > 0
        return self.labels == torch.arange(1, self.num_classes).reshape(-1, *[1] * (self.labels.ndim - 1))

    def label_map(self) -> Tensor:
        """(*spatial) class indices; where overlapping classes meet, the one with the lower index is seen."""
        dtype = torch.uint8 if self.num_classes <= 256 else torch.int16
        if self.labels.shape[0] == 1:
            return self.labels[0].to(dtype)
        seen = torch.zeros(self.labels.shape[1:], dtype=dtype)
        for index in range(self.labels.shape[0], 0, -1):
            seen[self.labels[index - 1] > 0] = index
        return seen


@dataclass(frozen=True)
class Prepared:
    """An image between reading and the network; several runs may begin with it.

    Attributes:
        path: the file, for messages.
        data: of the preprocessing, for its inverse.
        original: (C, *spatial) image as read.
        image: (Ci, *spatial) prepared.
        batch: (1, Ci, *spatial) the same on the network's device.
    """

    path: Path
    data: Mapping[str, Any] = field(repr=False)
    original: MetaTensor = field(repr=False)
    image: MetaTensor = field(repr=False)
    batch: Tensor = field(repr=False)


class Predictor:
    """Everything that stays the same from image to image.

    Args:
        runner: how the network is run on a prepared image.
        network: for what it takes.
        preprocessing: reads and prepares; a `Compose` whose first transform reads the file under ``image_key`` (``ReadImaged``).
        postprocessing: brings the inferer's output under ``pred_key`` back to the file's grid, and makes labels of logits.
        device: where the network runs.
        image_key: key of the image.
        pred_key: key of the answer.
    """

    def __init__(
        self,
        runner: Runner,
        network: nn.Module,
        preprocessing: Compose,
        postprocessing: Compose,
        device: torch.device,
        *,
        image_key: str = "image",
        pred_key: str = "pred",
    ) -> None:
        self.runner = runner
        self.expected = NetworkInput.of(network)
        self.preprocessing = preprocessing
        self.postprocessing = postprocessing
        self.device = device
        self.image_key = image_key
        self.pred_key = pred_key

    def __call__(self, path: Path, image: MetaTensor | None = None, *, uncertainty: bool = False) -> Prediction:
        """Segment one file, or one image that was read already.

        Args:
            path: the file; a name for messages when the image is given.
            image: (C, *spatial) as the first transform would have read it; None to read the file.
            uncertainty: whether to say where the answer stays uncertain, which costs logits of the image's size.

        Raises:
            ImageError: when the file is missing, damaged, does not fit the network, or needs more memory than there is.
        """
        memory, watch = PeakMemory(self.device), Stopwatch(self.device)
        memory.start()
        with enough_memory(path):
            prepared = self.prepare(path, image, watch)
            return self.answer(prepared, watch, memory, uncertainty=uncertainty)

    def answer(
        self, prepared: Prepared, watch: Stopwatch, memory: PeakMemory | None = None, *, uncertainty: bool = False
    ) -> Prediction:
        """Run the network on a prepared image, and bring its answer back to the grid of the file.

        Args:
            prepared: the image.
            watch: takes the seconds.
            memory: measured since before the image was read.
            uncertainty: whether to say where the answer stays uncertain.

        Raises:
            ImageError: when the image is too small for the network, or the answer does not come back to its size.
        """
        start = time.perf_counter()
        with _large_enough(prepared):
            answer, statistics = self.runner(prepared.batch, logits=uncertainty)
        elapsed = time.perf_counter() - start
        stages = {str(key): float(value) for key, value in statistics.get("seconds", {}).items() if key != "total"}
        watch.seconds.update(stages)
        # What the inferer's own stages leave out is still time that the user waits.
        watch.seconds["other"] = max(0.0, elapsed - sum(stages.values()))
        return self.finish(prepared, answer, statistics, watch, memory, uncertainty=uncertainty)

    def prepare(self, path: Path, given: MetaTensor | None, watch: Stopwatch) -> Prepared:
        """Read and prepare one image.

        Args:
            path: the file; a name for messages when the image is given.
            given: (C, *spatial) as the first transform would have read it; None to read the file.
            watch: takes the seconds.

        Raises:
            ImageError: when the file is missing, damaged or does not fit the network.
        """
        with watch.stage("read"):
            if given is None:
                check_readable(path)
                raw = self._prepare({self.image_key: str(path)}, path, end=1)
            else:
                raw = {self.image_key: given}
        original = _kept(_channel_first(raw[self.image_key], path))
        with watch.stage("prepare"):
            try:
                data = self._prepare(raw, path, start=1)
            except ImageError:
                # A volume for a network of pictures stumbles somewhere in the transforms; say why, not where.
                check_axes(original, self.expected, str(path))
                raise
            image = data[self.image_key]
            check_image(image, self.expected, str(path))
            batch = image[None].to(self.device)
        return Prepared(path, data, original, image, batch)

    def finish(
        self,
        prepared: Prepared,
        answer: Tensor,
        statistics: Mapping[str, Any],
        watch: Stopwatch,
        memory: PeakMemory | None = None,
        *,
        uncertainty: bool = False,
    ) -> Prediction:
        """Bring the inferer's answer back to the grid of the file.

        Args:
            prepared: what the inferer saw.
            answer: (1, C, *spatial) labels, where the inferer gives those and no uncertainty is asked for; logits else.
            statistics: of the run, with ``windows``, ``windows_total`` and ``channels``.
            watch: takes the seconds.
            memory: measured since before the image was read.
            uncertainty: whether to say where the answer stays uncertain; the answer is logits then.

        Raises:
            ImageError: when the answer does not come back to the size of the image.
        """
        image, original = prepared.image, prepared.original
        with watch.stage("finish"):
            answer = answer.as_tensor() if isinstance(answer, MetaTensor) else answer
            back = {**prepared.data, self.pred_key: MetaTensor(answer[0].cpu(), meta=image.meta)}
            finished, uncertain = self._finish(back, uncertainty)
            labels = torch.as_tensor(finished[self.pred_key]).cpu()
        if labels.shape[1:] != original.shape[1:]:
            raise ImageError(
                f"the answer for {prepared.path} has size {tuple(labels.shape[1:])}, the image {tuple(original.shape[1:])}; "
                "the bundle's postprocessing must invert its preprocessing."
            )
        boxes = boxes_of(statistics["windows"], image, original)
        return Prediction(
            labels=labels.as_tensor() if isinstance(labels, MetaTensor) else labels,
            # One channel is foreground against background, as is each of several overlapping classes.
            num_classes=labels.shape[0] + 1 if labels.shape[0] == statistics["channels"] else statistics["channels"],
            image=original,
            prepared_size=tuple(int(n) for n in image.shape[1:]),
            statistics=statistics,
            boxes=tuple(boxes),
            watch=watch,
            peak_memory_bytes=0 if memory is None else memory.bytes(),
            uncertainty=uncertain,
        )

    def _finish(self, data: Mapping[str, Any], wanted: bool) -> tuple[dict[str, Any], Tensor | None]:
        """Run the postprocessing; where it is asked for, the uncertainty of the logits that are back on the file's grid."""
        if not wanted:
            return self.postprocessing(dict(data)), None
        steps = self.postprocessing.transforms
        inverted = max((place for place, step in enumerate(steps, start=1) if isinstance(step, Invertd)), default=0)
        back: dict[str, Any] = self.postprocessing(dict(data), end=inverted) if inverted else dict(data)
        # Of interpolated logits: uncertainty itself is never interpolated, a boundary between two voxels would be lost.
        logits = torch.as_tensor(back[self.pred_key]).cpu()[None]
        settings = self.runner.inferer.settings
        activation = settings.activation or ("softmax" if logits.shape[1] > 1 else "sigmoid")
        uncertain = uncertainty_of(logits, activation=activation)[0, 0]
        if settings.output == "labels":  # the postprocessing awaits labels
            back[self.pred_key] = MetaTensor(hard_labels(logits, activation)[0], meta=back[self.pred_key].meta)
        return self.postprocessing(back, start=inverted), torch.as_tensor(uncertain)

    def _prepare(self, data: Mapping[str, Any], path: Path, start: int = 0, end: int | None = None) -> dict[str, Any]:
        try:
            prepared: dict[str, Any] = self.preprocessing(dict(data), start=start, end=end)
        except (DisError, torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:
            root: BaseException = error
            while not isinstance(root, DisError) and (inner := root.__cause__) is not None:
                root = inner
            if isinstance(root, DisError):
                raise root from error
            if isinstance(root, MemoryError):
                raise root from error
            reason = str(root).splitlines()[0] if str(root) else type(root).__name__
            raise ImageError(f"{path} cannot be prepared for the network ({reason}); check the file.") from error
        return prepared


@contextmanager
def enough_memory(path: Path) -> Iterator[None]:
    """Say in a sentence that an image needs more memory than there is.

    Raises:
        ImageError: in place of what Python or PyTorch raises.
    """
    try:
        yield
    except OutOfMemoryError as error:
        raise ImageError(f"{path} needs more memory than there is: {error}") from error
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ImageError(
            f"{path} needs more memory than there is; use a smaller sw_batch_size, a budget, or another device."
        ) from error


@contextmanager
def _large_enough(prepared: Prepared) -> Iterator[None]:
    """Say in a sentence that a network leaves a single voxel of an image, whose mean and variance say nothing.

    Raises:
        ImageError: in place of what PyTorch raises.
    """
    try:
        yield
    except ValueError as error:
        if "Expected more than 1 spatial element" not in str(error):
            raise
        size = " x ".join(map(str, prepared.batch.shape[2:]))
        raise ImageError(
            f"{prepared.path} is too small for the network of this bundle, which is given {size} voxels of it; choose a larger image."
        ) from error


def _channel_first(image: Tensor, path: Path) -> MetaTensor:
    """The image as read, channels first, whether or not the reading transform has seen to that."""
    if not isinstance(image, MetaTensor):
        raise ImageError(
            f"{path} was read without its geometry; the bundle's first transform must be ReadImaged or MONAI's LoadImaged."
        )
    size = [int(n) for n in image.meta["spatial_shape"]]
    if list(image.shape[1:]) == size and image.ndim > len(size):
        return image
    moved = EnsureChannelFirst()(image)
    assert isinstance(moved, MetaTensor)
    return moved


def _kept(image: MetaTensor) -> MetaTensor:
    """A copy, since transforms such as ``NormalizeIntensity`` write into the image; small, since it stays all along."""
    values = image.as_tensor()
    for dtype in (torch.uint8, torch.int16):
        copy = values.to(dtype)
        if torch.equal(copy.to(values.dtype), values):
            break
    else:
        copy = values.clone()
    kept = MetaTensor(copy)
    kept.copy_meta_from(image)  # type: ignore[no-untyped-call]
    return kept
