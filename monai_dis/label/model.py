"""A bundle in use at the reading desk: one image from file to answer, at once, again, and with clicks."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.spatial.array import SpatialResample
from torch import Tensor

from monai_dis.bundle.metadata import BundleMetadata
from monai_dis.bundle.weights import load_weights, weights_digest
from monai_dis.checks.header import check_header
from monai_dis.checks.limits import Limits
from monai_dis.errors import DisError, ImageError
from monai_dis.inferers.clicks import Click, mosaic_of_labels, with_click
from monai_dis.inferers.mosaic import Mosaic
from monai_dis.label.answer import describe
from monai_dis.label.cases import Case, CaseStore, Standing, file_stamp
from monai_dis.label.look import look_classes, look_map, ranked_places, windows_mask
from monai_dis.label.request import InferRequest, Point
from monai_dis.pipeline.model import Model
from monai_dis.pipeline.modes import make_runner, run_budget
from monai_dis.pipeline.network_input import NetworkInput
from monai_dis.pipeline.predict import Prediction, Predictor, Prepared, Stopwatch

__all__ = ["Answer", "LabelModel"]

_WARM_SIZE = 64


@dataclass(frozen=True)
class Answer:
    """An answer to a request.

    Attributes:
        labels: (columns, rows[, slices]) class indices on the file's grid.
        layers: (classes, columns, rows[, slices]) of 0 and 1, for classes that overlap; None otherwise.
        image: as it was read.
        classes: names by index.
        about: what `monai_dis.label.answer.describe` says, and ``places`` where they were asked for.
    """

    labels: np.ndarray[Any, Any] = field(repr=False)
    layers: np.ndarray[Any, Any] | None = field(repr=False)
    image: MetaTensor = field(repr=False)
    classes: Mapping[int, str]
    about: dict[str, Any] = field(repr=False)


class LabelModel:
    """What answers requests with one bundle.

    Args:
        bundle: name or folder.
        weights: file of published weights, which take the place of the bundle's own where and when it exists.
        lock: held while a network runs, so that one runs at a time; shared by all models of a server.
        label_geometry: what is done about a label that lies elsewhere than its image, ``"reject"`` or ``"warn"``.
        limits: sizes beyond which an image is refused.

    Raises:
        BundleError: when the bundle or its weights cannot be used.
    """

    def __init__(
        self,
        bundle: str | Path,
        *,
        weights: Path | None = None,
        lock: AbstractContextManager[Any] | None = None,
        label_geometry: str = "reject",
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.model = Model.open(bundle, {"device": "cpu"}, clicks=True, label_geometry=label_geometry)
        assert self.model.folder is not None
        self.name = self.model.folder.name
        self.classes = self.model.classes
        self.spatial_dims = NetworkInput.of(self.model.network).spatial_dims or 3
        self.weights = weights
        self.lock = RLock() if lock is None else lock
        self._own = {key: value.clone() for key, value in self.model.network.state_dict().items()}
        self._loaded: Any = None
        self._cases = CaseStore()
        self._device = torch.device("cpu")
        self.refresh()

    def refresh(self) -> bool:
        """Take published weights into use, or the bundle's own where there are none (any more); returns whether they changed."""
        file = self.weights
        stamp = file_stamp(file) if file is not None and file.is_file() else None
        if stamp == self._loaded:
            return False
        with self.lock:
            network = self.model.network
            if stamp is None:
                network.load_state_dict(self._own)
            else:
                assert file is not None
                load_weights(network, file)
            self._loaded = stamp
            self._cases.clear()
        return True

    @property
    def metadata(self) -> BundleMetadata:
        """What the bundle says of itself."""
        assert self.model.metadata is not None
        return self.model.metadata

    def digest(self) -> str:
        """SHA-256 of the weights in use."""
        return weights_digest(self.model.network)

    def infer(
        self,
        path: Path,
        request: InferRequest,
        *,
        image: MetaTensor | None = None,
        label: Path | None = None,
        look: bool = False,
    ) -> Answer:
        """Answer a request.

        Args:
            path: the image's file, a name for messages when the image is given.
            request: what is wanted.
            image: (C, *spatial) as read; None to read the file.
            label: file of an existing segmentation that clicks refine; the automatic one when not given.
            look: answer with what stays uncertain and what was refined in place of the classes.

        Raises:
            DisError: when the image, the label or a point cannot be used.
        """
        with self.lock, torch.inference_mode():
            self.refresh()
            device = _device_of(request.device)
            watch = Stopwatch(device)
            case, predictor = self._case(path, image, device, watch)
            prepared = case.prepared
            given = None if label is None else self.model.label_of(label, prepared.original)
            if given is None:
                standing = self._automatic(case, request, watch)
            else:
                standing = self._from_label(given, prepared)
            if request.points:
                standing = self._clicked(case, standing, request, watch, keep=given is None)
            prediction = self._finish(predictor, prepared, standing, watch, uncertainty=look)
            if given is not None:
                prediction = _kept_elsewhere(prediction, standing, prepared, given)
        # After each click it would take longer than the click.
        about = describe(prediction, self.classes, str(path), objects=not request.points)
        if not look:
            layers = prediction.labels.numpy() if prediction.labels.shape[0] > 1 else None
            return Answer(prediction.label_map().numpy(), layers, prepared.original, self.classes, about)
        about["places"] = [place.to_dict() for place in ranked_places(prediction)]
        classes = look_classes(self.classes)
        about["label_names"] = {name: number for number, name in classes.items()}
        return Answer(look_map(prediction, self.classes), None, prepared.original, classes, about)

    def warm_up(self) -> None:
        """Answer an image of noise, so that whoever comes first does not wait for what is loaded and prepared once."""
        expected = NetworkInput.of(self.model.network)
        size = (_WARM_SIZE,) * self.spatial_dims
        noise = torch.rand((expected.channels or 1, *size), generator=torch.Generator().manual_seed(0)) * 255
        image = MetaTensor(noise, affine=torch.eye(4))
        image.meta.update(spatial_shape=np.array(size), original_affine=np.eye(4))
        middle = Point(tuple(n / 2 for n in size), min(self.classes, default=1))
        with contextlib.suppress(DisError):  # what a bundle says of noise is nobody's concern
            self.infer(Path("noise"), InferRequest(points=(middle,)), image=image, look=True)
        self._cases.clear()

    def _case(
        self, path: Path, image: MetaTensor | None, device: torch.device, watch: Stopwatch
    ) -> tuple[Case, Predictor]:
        model = self.model
        if device != self._device:
            model.network.to(device)
            self._device = device
        runner = make_runner(model.network, model.inferer, "dis", model.inferer.settings.budget)
        predictor = Predictor(
            runner, model.network, model.predictor.preprocessing, model.predictor.postprocessing, device
        )
        key = (file_stamp(path) if path.exists() else str(path), str(device))
        case = self._cases.get(key)
        if case is None:
            if image is None and path.is_file():  # as every other run looks at a file before it is read
                check_header(path, self.limits, {}, self.metadata.input_channels, self.metadata.smallest_mm)
            case = self._cases.put(key, Case(predictor.prepare(path, image, watch)))
        return case, predictor

    def _automatic(self, case: Case, request: InferRequest, watch: Stopwatch) -> Standing:
        key = (request.mode, request.budget)
        if key not in case.standing:
            case.standing[key] = self._run(case.prepared.batch, request, watch)
        return case.standing[key]

    @torch.no_grad()
    def _run(self, batch: Tensor, request: InferRequest, watch: Stopwatch) -> Standing:
        model = self.model
        operations = request.budget if request.mode == "dis" else None
        budget = run_budget(model.inferer, request.mode, operations=operations)
        overlap = model.window_overlap if request.mode == "sliding-window" else None
        runner = make_runner(model.network, model.inferer.replaced(output="logits"), request.mode, budget, overlap)
        if request.mode == "sliding-window":
            with watch.stage("refine"):
                logits, statistics = runner(batch)
            plain = logits.as_tensor() if isinstance(logits, MetaTensor) else logits
            activation = model.inferer.settings.activation or ("softmax" if plain.shape[1] > 1 else "sigmoid")
            return Standing(Mosaic(plain, plain.shape[2:], activation), statistics)
        result = runner.inferer.run(batch, runner.network)
        for stage, seconds in result.seconds.items():
            watch.seconds[stage] = watch.seconds.get(stage, 0.0) + seconds
        plain_figures: dict[str, Any] = {"windows": [], "windows_total": result.windows_total}
        if request.mode == "dis":
            with watch.stage("statistics"):
                left, area = result.uncertain_left, result.area_mm
                plain_figures.update(
                    windows=[asdict(window) for window in result.windows],
                    uncertain_left=left,
                    uncertain_left_mm=None if area is None else tuple(share * area for share in left),
                    dice_coarse_refined=result.dice_coarse_refined,
                )
        return Standing(result.mosaic, {**plain_figures, "channels": result.mosaic.channels})

    def _from_label(self, given: MetaTensor, prepared: Prepared) -> Standing:
        image, inferer = prepared.image, self.model.inferer
        channels = len(self.classes) + 1
        activation = inferer.settings.activation
        if activation is None:
            # One class is one channel and a sigmoid, in every bundle but those with a channel for the background.
            channels = channels if _channels_of(self.model.network) != 1 else 1
            activation = "softmax" if channels > 1 else "sigmoid"
        elif activation == "sigmoid":
            channels -= 1
        there = SpatialResample(mode="nearest", padding_mode="border")(
            given, dst_affine=image.affine, spatial_size=image.shape[1:]
        )
        labels = torch.as_tensor(there)[0].round().long()
        mosaic = mosaic_of_labels(labels, activation, channels)
        return Standing(mosaic, {"windows": [], "windows_total": 0, "channels": channels})

    def _clicked(self, case: Case, base: Standing, request: InferRequest, watch: Stopwatch, *, keep: bool) -> Standing:
        """Add the clicks that are not in the standing answer yet; where one was taken back, from the beginning."""
        key = (request.mode, request.budget)
        clicks = [self._click(point, case.prepared) for point in request.points]
        standing = case.clicked.get(key, base) if keep else base
        if not set(standing.clicks) <= set(clicks):
            standing = base
        settings = self.model.inferer.settings
        with watch.stage("clicks"):
            for click in clicks:
                if click in standing.clicks:
                    continue
                every = (*standing.clicks, click)
                mosaic, corner, size = with_click(
                    standing.mosaic, case.prepared.batch, self.model.network, every, settings
                )
                standing = Standing(mosaic, base.statistics, every, (*standing.changed, (corner, size)))
        if keep:
            case.clicked[key] = standing
        return standing

    def _click(self, point: Point, prepared: Prepared) -> Click:
        """A point of the file as a click on the prepared image."""
        dims = prepared.image.ndim - 1
        voxel = point.voxel[:dims]
        size = tuple(int(n) for n in prepared.original.shape[1:])
        if len(voxel) < dims or not all(-0.5 <= v <= n - 0.5 for v, n in zip(voxel, size, strict=True)):
            raise ImageError(
                f"a point lies outside the image of {' x '.join(map(str, size))} voxels (columns, rows, slices); place it inside."
            )
        if point.label > len(self.classes):
            raise ImageError(f"a point is of class {point.label}; the model has {len(self.classes)}.")
        move = np.linalg.inv(_affine(prepared.image)) @ _affine(prepared.original)
        there = (move @ [*voxel, 1.0])[:-1]
        last = np.asarray(prepared.image.shape[1:]) - 0.5
        # The prepared image may end half a voxel before the file does.
        position = np.clip(there, -0.5, last)
        return Click(tuple(round(float(p), 3) for p in position), point.label)

    def _finish(
        self, predictor: Predictor, prepared: Prepared, standing: Standing, watch: Stopwatch, *, uncertainty: bool
    ) -> Prediction:
        known, clicked = standing.statistics, _inside(standing, tuple(prepared.image.shape[1:]))
        refined = int(known.get("windows_refined", len(known["windows"]))) + len(clicked)
        with watch.stage("merge"):
            logits = standing.mosaic.compose()
            if self.model.inferer.settings.output == "labels" and not uncertainty:
                answer = standing.mosaic.labels()
            else:
                answer = logits
        statistics = {**known, "windows": [*known["windows"], *clicked], "windows_refined": refined}
        answer = answer.to(torch.float32) if answer is logits else answer
        return predictor.finish(prepared, answer, statistics, watch, uncertainty=uncertainty)


def _device_of(name: str) -> torch.device:
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _affine(image: MetaTensor) -> np.ndarray[Any, Any]:
    from monai.data.utils import to_affine_nd

    return np.asarray(to_affine_nd(image.ndim - 1, image.affine.double().cpu().numpy()))


def _channels_of(network: Any) -> int:
    """Logit channels, read off the last convolution of the coarse network."""
    last = [m for m in getattr(network, "coarse", network).modules() if hasattr(m, "out_channels")][-1]
    return int(last.out_channels)


def _inside(standing: Standing, size: Sequence[int]) -> list[dict[str, Any]]:
    """Windows of clicks as the statistics list windows, what lies beyond the image cut off."""
    windows = []
    for corner, extent in standing.changed:
        low = [max(c, 0) for c in corner]
        high = [min(c + e, n) for c, e, n in zip(corner, extent, size, strict=True)]
        windows.append({"level": 1, "corner": low, "size": [b - a for a, b in zip(low, high, strict=True)]})
    return windows


def _kept_elsewhere(prediction: Prediction, standing: Standing, prepared: Prepared, given: MetaTensor) -> Prediction:
    """The given labels outside the windows of the clicks: there they stay as they were, voxel by voxel."""
    from monai_dis.pipeline.window_outlines import boxes_of

    labels = torch.as_tensor(given).round()
    if prediction.labels.shape[0] > 1:
        numbers = torch.arange(1, prediction.labels.shape[0] + 1).reshape(-1, *[1] * (labels.ndim - 1))
        labels = (labels == numbers).to(prediction.labels.dtype)
    boxes = boxes_of(_inside(standing, tuple(prepared.image.shape[1:])), prepared.image, prepared.original)
    changed = torch.as_tensor(windows_mask(boxes, tuple(prepared.original.shape[1:])))
    return replace(prediction, labels=torch.where(changed, prediction.labels, labels.to(prediction.labels.dtype)))
