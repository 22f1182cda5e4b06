"""A bundle's preparation of a picture, applied region by region: the same numbers everywhere on a slide.

Transforms that look at one pixel at a time stay as they are. Those that look at the whole picture (``NormalizeIntensityd``,
``ScaleIntensityd``) get the slide's own mean and deviation, or range, measured once. Those that resample (``Resized``,
``ScaleFieldOfViewd``) fall away: a slide keeps its own pixels.

Letters in shapes: ``C`` channels, ``X`` columns, ``Y`` rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import (
    CastToTyped,
    Compose,
    EnsureChannelFirstd,
    EnsureTyped,
    LoadImaged,
    NormalizeIntensity,
    NormalizeIntensityd,
    Resized,
    ScaleIntensityd,
    ScaleIntensityRanged,
    ToTensord,
)
from numpy.typing import NDArray
from torch import Tensor

from monai_dis.data import ReadImaged
from monai_dis.errors import ImageError
from monai_dis.slides.grid_image import as_tensor
from monai_dis.slides.pyramid import Pyramid
from monai_dis.slides.regions import Region, squares
from monai_dis.transforms import ScaleFieldOfViewd

__all__ = ["Preparation", "prepare_by_region"]

_SAMPLE_SIDE = 512
_SAMPLES = 64

_READING = (ReadImaged, LoadImaged, EnsureChannelFirstd)
_RESAMPLING = (Resized, ScaleFieldOfViewd)
_PIXELWISE = (ScaleIntensityRanged, EnsureTyped, CastToTyped, ToTensord)

Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Preparation:
    """What is done to the values of a region (C, X, Y).

    Args:
        steps: one after the other.
        description: what was measured, and what of the bundle's own preparation falls away, for the report.
    """

    steps: tuple[Step, ...]
    description: dict[str, Any] = field(default_factory=dict)

    def __call__(self, values: Tensor) -> Tensor:
        """The prepared values, (C, X, Y) float32."""
        for step in self.steps:
            values = step(values)
        return values.as_tensor().float() if isinstance(values, MetaTensor) else values.float()


def prepare_by_region(
    preprocessing: Compose, pyramid: Pyramid, overview: NDArray[np.generic], image_key: str = "image"
) -> Preparation:
    """Turn a bundle's preprocessing into one for regions of a slide.

    Mean and deviation are exact on slides of at most 64 squares of 512 pixels, all of which are read. On larger ones the mean is
    that of the overview, and the variance that of the overview plus the mean variance within its pixels on 64 squares spread over
    the slide: the law of total variance. Ranges are those of these squares.

    Args:
        preprocessing: of the bundle, dictionary transforms of MONAI.
        pyramid: the slide.
        overview: (C, X, Y).
        image_key: key of the image.

    Raises:
        ImageError: when a transform cannot be applied to regions.
    """
    steps: list[Step] = []
    description: dict[str, Any] = {}
    for transform in preprocessing.transforms:
        if isinstance(transform, _READING):
            continue
        if isinstance(transform, _RESAMPLING):
            description["left_out"] = f"{type(transform).__name__}: a slide keeps its own pixels"
        elif isinstance(transform, _PIXELWISE):
            steps.append(_of_dictionary(transform, image_key))
        elif isinstance(transform, NormalizeIntensityd) and _is_plain(transform.normalizer):
            mean, deviation = _moments(Preparation(tuple(steps)), pyramid, overview, transform.normalizer.channel_wise)
            steps.append(_affine(mean, deviation))
            description.update(mean=mean.tolist(), deviation=deviation.tolist())
        elif (
            isinstance(transform, ScaleIntensityd)
            and transform.scaler.minv is not None
            and not transform.scaler.channel_wise
        ):
            low, high = _range(Preparation(tuple(steps)), pyramid)
            a, b = float(transform.scaler.minv), float(transform.scaler.maxv or 0.0)
            span = (high - low) / (b - a) if high > low and b > a else 1.0
            steps.append(_affine(np.asarray([low - a * span]), np.asarray([span])))
            description.update(range=[low, high])
        else:
            raise ImageError(
                f"{pyramid.path} is a slide, and {type(transform).__name__} of the bundle's preprocessing needs the whole picture; use a "
                "bundle that prepares with ScaleIntensityRanged, NormalizeIntensityd or ScaleIntensityd."
            )
    return Preparation(tuple(steps), description)


def _is_plain(normalizer: NormalizeIntensity) -> bool:
    return normalizer.subtrahend is None and normalizer.divisor is None and not normalizer.nonzero


def _of_dictionary(transform: Any, key: str) -> Step:
    def step(values: Tensor) -> Tensor:
        prepared: Tensor = transform({key: values})[key]
        return prepared

    return step


def _affine(subtrahend: NDArray[np.float64], divisor: NDArray[np.float64]) -> Step:
    """Subtract and divide in float32, as MONAI's ``NormalizeIntensity`` does."""
    shape = (-1, 1, 1)
    minus = torch.as_tensor(subtrahend, dtype=torch.float32).reshape(shape)
    by = torch.as_tensor(divisor, dtype=torch.float32).reshape(shape)
    return lambda values: (values - minus) / by


def _samples(pyramid: Pyramid) -> tuple[list[Region], bool]:
    """Squares of the finest level spread over the slide, and whether they are all of it."""
    across, down = (-(-n // _SAMPLE_SIDE) for n in pyramid.size)
    if across * down <= _SAMPLES:
        return list(squares(pyramid.size, _SAMPLE_SIDE)), True
    # Evenly along the columns, by the golden ratio along the rows: no period that a slide could share.
    places = {
        (int((i + 0.5) / _SAMPLES * across), int((i * 0.6180339887498949 + 0.5) % 1 * down)) for i in range(_SAMPLES)
    }
    regions = []
    for x, y in sorted(places):
        a, b = x * _SAMPLE_SIDE, y * _SAMPLE_SIDE
        regions.append(
            (slice(a, min(a + _SAMPLE_SIDE, pyramid.size[0])), slice(b, min(b + _SAMPLE_SIDE, pyramid.size[1])))
        )
    return regions, False


def _prepared(prepare: Step, pyramid: Pyramid, regions: Sequence[Region]) -> Iterator[NDArray[np.float64]]:
    for x, y in regions:
        raw = pyramid.read(0, (x.start, y.start), (x.stop - x.start, y.stop - y.start))
        yield prepare(as_tensor(raw)).numpy().astype(np.float64)


def _moments(
    prepare: Step, pyramid: Pyramid, overview: NDArray[np.generic], by_channel: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation, per channel or of all; a deviation of 0 becomes 1, as in MONAI."""
    regions, complete = _samples(pyramid)
    small = prepare(as_tensor(overview)).numpy().astype(np.float64)
    factor = [max(1, round(n / s)) for n, s in zip(pyramid.size, small.shape[1:], strict=True)]
    count, total, squared, within = 0, np.zeros(len(small)), np.zeros(len(small)), []
    for values in _prepared(prepare, pyramid, regions):
        count += values[0].size
        total += values.sum(axis=(1, 2))
        squared += (values**2).sum(axis=(1, 2))
        within.append(_variance_within(values, factor))
    if complete:
        mean, second = total / count, squared / count
    else:
        mean = small.mean(axis=(1, 2))
        second = (small**2).mean(axis=(1, 2)) + np.mean(within, axis=0)
    if not by_channel:
        mean, second = mean.mean(keepdims=True), second.mean(keepdims=True)
    deviation = np.sqrt(np.maximum(second - mean**2, 0.0))
    return mean, np.where(deviation > 0, deviation, 1.0)


def _variance_within(values: NDArray[np.float64], factor: Sequence[int]) -> NDArray[np.float64]:
    """Mean variance within blocks of the size of an overview's pixel, by channel."""
    a, b = (min(f, n) for f, n in zip(factor, values.shape[1:], strict=True))
    kept = values[:, : values.shape[1] // a * a, : values.shape[2] // b * b]
    blocks = kept.reshape(len(kept), kept.shape[1] // a, a, kept.shape[2] // b, b)
    variance: NDArray[np.float64] = blocks.var(axis=(2, 4)).mean(axis=(1, 2))
    return variance


def _range(prepare: Step, pyramid: Pyramid) -> tuple[float, float]:
    bounds = [(float(v.min()), float(v.max())) for v in _prepared(prepare, pyramid, _samples(pyramid)[0])]
    return min(low for low, _ in bounds), max(high for _, high in bounds)
