"""From the mosaic of a slide to its label images, tile by tile.

Letters in shapes: ``C`` classes, ``X`` columns, ``Y`` rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from monai_dis.inferers.mosaic import Mosaic
from monai_dis.inferers.score import hard_labels
from monai_dis.slides.labels import LABEL_TILE, LabelTiles
from monai_dis.slides.regions import Region, under
from monai_dis.slides.tissue import Tissue

__all__ = ["compose_labels", "seen_labels"]


def compose_labels(
    mosaic: Mosaic,
    tissue: Tissue,
    labels: LabelTiles,
    masks: Sequence[LabelTiles],
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the label tiles that are not there yet; each is there when all that belongs to it is.

    Args:
        mosaic: of one image.
        tissue: where a network looked.
        labels: class indices; where overlapping classes meet, the one with the lower index is seen.
        masks: one for each of several overlapping classes; empty for exclusive ones.
        report: told how many tiles are done and of how many.
    """
    (columns, rows), (across, down) = labels.sizes[0], labels.counts()
    for number in range(across * down):
        report(number, across * down)
        row, column = divmod(number, across)
        if labels.has(column, row):
            continue
        x = slice(column * LABEL_TILE, min((column + 1) * LABEL_TILE, columns))
        y = slice(row * LABEL_TILE, min((row + 1) * LABEL_TILE, rows))
        if tissue.meets((x, y), mosaic.size) or _has_windows(mosaic, (x, y)):
            with torch.no_grad():
                logits = mosaic.on(mosaic.size, len(mosaic.layers), (x, y))
            answer = hard_labels(logits, mosaic.activation)[0].numpy().transpose(0, 2, 1)
        else:
            answer = np.zeros((max(1, len(masks)), y.stop - y.start, x.stop - x.start), dtype=labels.dtype)
        for mask, values in zip(masks, answer, strict=False):
            mask.write(column, row, values)
        labels.write(column, row, seen_labels(answer) if masks else answer[0])
    report(across * down, across * down)


def _has_windows(mosaic: Mosaic, region: Region) -> bool:
    """Whether a refined window reaches into a region of the image."""
    for layer in mosaic.layers:
        x, y = under(region, mosaic.size, layer.grid)
        if len(layer.touching((x.start, y.start), (x.stop, y.stop), None)):
            return True
    return False


def seen_labels(masks: NDArray[np.generic]) -> NDArray[np.uint8]:
    """(C, Y, X) masks of overlapping classes to (Y, X) class indices, the lower index in front."""
    seen = np.zeros(masks.shape[1:], dtype=np.uint8)
    for index in range(len(masks), 0, -1):
        seen[masks[index - 1] > 0] = index
    return seen
