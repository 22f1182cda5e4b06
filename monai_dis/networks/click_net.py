"""The network of clicks: it reads what was answered and what a reader clicked, and adds a correction.

Letters in shapes: ``K`` windows, ``Ci`` image channels, ``C`` classes, ``G`` guidance channels, ``*roi`` window size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_dis.errors import NetworkError
from monai_dis.networks.clipped import check_clip, clipped

__all__ = ["ClickNet"]


class ClickNet(nn.Module):
    """``refined + correction``, where a small backbone reads the correction off image, answers and clicks.

    It is trained after the others, on answers for images that they did not see, with clicks on the largest errors. With no click in a
    window the refined answer is returned as it is, bit for bit.

    Args:
        backbone: image window, answers before and after refinement and guidance, (K, Ci + 2 C + G, *roi) to (K, C, *roi). The last
            layer need not be zero at first: the correction is multiplied by a gain that is.
        channels: number ``C`` of logit channels.
        roi_size: window size, in voxels of its grid.
        scale: of the grid on which a click is answered, one whole number or one per axis; 1 is that of the image.
        clip: the backbone sees logits clipped to ``-clip`` and ``clip`` and divided by ``clip``.

    Raises:
        NetworkError: when an argument is out of range.
    """

    def __init__(
        self,
        backbone: nn.Module,
        channels: int,
        roi_size: Sequence[int],
        *,
        scale: int | Sequence[int] = 1,
        clip: float = 8.0,
    ) -> None:
        super().__init__()
        scales = (scale,) * len(roi_size) if isinstance(scale, (int, float)) else tuple(scale)
        if channels < 1 or len(scales) != len(roi_size) or any(s < 1 or int(s) != s for s in scales):
            raise NetworkError(
                f"channels and scale must be whole numbers of 1 or more, scale for each axis, got {channels} and {scale}."
            )
        self.backbone = backbone
        self.channels = channels
        self.roi_size = tuple(int(r) for r in roi_size)
        self.scale = tuple(int(s) for s in scales)
        self.clip = check_clip(clip)
        self.gain = nn.Parameter(torch.full((1,), 0.1))

    def forward(self, window: Tensor, below: Tensor, refined: Tensor, guidance: Tensor) -> Tensor:
        """Correct a batch of windows.

        Args:
            window: (K, Ci, *roi) image.
            below: (K, C, *roi) logits before refinement.
            refined: (K, C, *roi) logits that stand.
            guidance: (K, G, *roi) clicks, see `monai_dis.inferers.clicks.draw_guidance`.

        Returns:
            (K, C, *roi) logits.
        """
        clicked = guidance.flatten(1).amax(dim=1) > 0
        if not bool(clicked.any()):
            return refined
        inputs = torch.cat([window, clipped(below, self.clip), clipped(refined, self.clip), guidance], dim=1)
        correction = self.clip * self.gain * self.backbone(inputs)
        shape = (-1, *[1] * (refined.ndim - 1))
        return torch.where(clicked.reshape(shape), refined + correction, refined)
