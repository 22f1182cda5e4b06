"""Validation cases: prepared as in training, judged on the grid of their file.

Letters in shapes: ``C`` channels, ``hi`` the side of the prepared square, ``*spatial`` the grid of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.post.dictionary import Invertd
from torch import Tensor

from monai_dis.data import LoadLabeld

__all__ = ["Case", "choose_picture", "read_cases"]


@dataclass(frozen=True)
class Case:
    """One validation case.

    Attributes:
        name: of the case.
        image: (1, C, hi, hi), prepared.
        truth: (1, *spatial) bool, on the grid of the file.
        truth_hi: (1, 1, hi, hi) bool, for the oracle alone.
    """

    name: str
    image: Tensor
    truth: Tensor
    truth_hi: Tensor
    _data: dict[Any, Any] = field(repr=False)
    _invert: Invertd = field(repr=False)

    def on_file_grid(self, logits: Tensor) -> Tensor:
        """Bring logits (1, 1, hi, hi) back to the file's grid, linearly; (1, *spatial)."""
        answer = MetaTensor(logits[0].cpu().float(), meta=self._data["image"].meta)
        restored = self._invert({**self._data, "pred": answer})["pred"]
        return restored.as_tensor() if isinstance(restored, MetaTensor) else torch.as_tensor(restored)


def read_cases(items: Sequence[Mapping[str, Any]], prepare: Compose) -> Iterator[Case]:
    """Read and prepare cases one after the other.

    Args:
        items: entries of a data list with ``name``, ``image`` and ``label``.
        prepare: the transforms of images in training; the label stays as it is.
    """
    invert = Invertd(keys="pred", transform=prepare, orig_keys="image", nearest_interp=False, to_tensor=True)
    load_label = LoadLabeld(keys="label", num_classes=2)
    for item in items:
        data: dict[Any, Any] = load_label(prepare(dict(item)))
        image, truth = data["image"], torch.as_tensor(data["label"]) > 0
        truth = truth.as_tensor() if isinstance(truth, MetaTensor) else truth
        truth_hi = F.interpolate(truth[None].float(), size=tuple(image.shape[1:]), mode="nearest-exact") > 0
        yield Case(str(item["name"]), image.as_tensor()[None].float(), truth, truth_hi, data, invert)


def choose_picture(items: Sequence[Mapping[str, Any]], dataset: str) -> Mapping[str, Any] | None:
    """The case that the picture shows: the first; of RETINA only a CHASE_DB1 image, whose licence alone allows it.

    Returns:
        An entry of ``items``; None when there is none that may be shown.
    """
    return next((item for item in items if dataset != "retina" or _is_chase(Path(str(item["image"])))), None)


def _is_chase(path: Path) -> bool:
    """CHASE_DB1 calls its files ``Image_01L.jpg`` and so on, DRIVE ``01_test``, STARE ``im0001``."""
    return path.name.startswith("Image_")
