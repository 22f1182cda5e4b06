"""Where training windows should lie: one map for each reason to look at a place.

Letters in shapes: ``C`` classes, ``R`` reasons, ``*spatial`` the image, ``*grid`` the maps.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.transforms.transform import MapTransform
from torch import Tensor

from monai_dis.errors import DataError

__all__ = ["REASONS", "CentreWeightsd"]

_POOLS: Mapping[int, Callable[..., Tensor]] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}

REASONS = ("uncertain", "wrong", "foreground")


class CentreWeightsd(MapTransform):
    """Weigh every place as the centre of a window, for ``RandWindowd`` to draw from; worked out once per image.

    Of several overlapping classes each counts equally, however small it is, unless ``class_weights`` say otherwise.

    Args:
        reasons: one map each, in this order: ``"uncertain"`` (the coarse answer is), ``"wrong"`` (it is, with confidence
            or without), ``"foreground"`` (there is something to segment).
        coarse_key: key of the coarse logits ``(C, *grid)``; the first two reasons need them.
        label_key: key of the label, class indices ``(1, *spatial)`` or overlapping classes ``(C, *spatial)`` of 0 and 1.
        grid: size of the maps where there are no coarse logits.
        key: key of the result, ``(R, *grid)`` float32.
        class_weights: weight of each overlapping class where there is something to segment; more for one that few images have.

    Raises:
        DataError: when a reason is unknown, or needs what is not given.
    """

    def __init__(
        self,
        reasons: Sequence[str],
        coarse_key: str | None = None,
        label_key: str = "label",
        grid: Sequence[int] | None = None,
        key: str = "centres",
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__([label_key] if coarse_key is None else [label_key, coarse_key])
        unknown = [reason for reason in reasons if reason not in REASONS]
        if unknown or not reasons:
            raise DataError(f"reasons must be among {', '.join(REASONS)}, got {list(reasons)}.")
        if coarse_key is None and (grid is None or tuple(reasons) != ("foreground",)):
            raise DataError("without coarse_key the only reason is foreground, and grid must be given.")
        self.reasons = tuple(reasons)
        self.coarse_key, self.label_key, self.key = coarse_key, label_key, key
        self.grid = None if grid is None else tuple(int(n) for n in grid)
        self.class_weights = class_weights

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the maps."""
        item = dict(data)
        label = torch.as_tensor(item[self.label_key])
        logits = None if self.coarse_key is None else torch.as_tensor(item[self.coarse_key]).float()
        grid = tuple(logits.shape[1:]) if logits is not None else self.grid
        assert grid is not None
        maps = []
        for reason in self.reasons:
            if reason == "foreground":
                maps.append(_equal_classes(_shares(label, grid), self.class_weights))
            else:
                assert logits is not None
                maps.append(_uncertain(logits, label) if reason == "uncertain" else _wrong(logits, label))
        item[self.key] = torch.stack(maps)
        return item


def _uncertain(logits: Tensor, label: Tensor) -> Tensor:
    if len(logits) in (1, len(label)):
        return (1.0 - (2.0 * logits.sigmoid() - 1.0).abs()).amax(0)
    top = logits.softmax(0).topk(2, dim=0).values
    return 1.0 - (top[0] - top[1])


def _wrong(logits: Tensor, label: Tensor) -> Tensor:
    if len(logits) in (1, len(label)):
        return _equal_classes((logits.sigmoid() - _shares(label, logits.shape[1:])).abs())
    nearest = F.interpolate(label.float()[None], size=logits.shape[1:], mode="nearest-exact")[0].long()
    return 1.0 - logits.softmax(0).gather(0, nearest)[0]


def _shares(label: Tensor, grid: Sequence[int]) -> Tensor:
    """Share of the foreground, or of each overlapping class, in every cell of the grid, (1 or C, *grid)."""
    pool = _POOLS[len(grid)]
    # Class by class: a stack of large images in float would be several times the image.
    return torch.cat([pool((channel > 0).float()[None, None], tuple(grid))[0] for channel in label])


def _equal_classes(maps: Tensor, weights: Sequence[float] | None = None) -> Tensor:
    """Sum over classes of maps that weigh the same or as given, 1 at most; a class that is absent has no say."""
    if len(maps) == 1:
        return maps[0]
    total = torch.zeros_like(maps[0])
    for each, mass, weight in zip(maps, maps.flatten(1).sum(1), weights or [1.0] * len(maps), strict=True):
        total += weight * each / mass if mass > 0 else 0.0
    return total / total.amax() if total.any() else total
