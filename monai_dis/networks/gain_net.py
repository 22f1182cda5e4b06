"""A small network that predicts what refining each place is worth, for the score ``"gain"``.

Letters in shapes: ``B`` batch, ``Ci`` image channels, ``C`` classes, ``*grid`` the grid of the level below.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_dis.errors import NetworkError
from monai_dis.inferers.score import probabilities
from monai_dis.networks.clipped import check_clip, clipped

__all__ = ["GainNet"]

_BOUND = 4.0


class GainNet(nn.Module):
    """Expected gain from the image and the answer so far: how much of each class's expected error refinement is expected to undo.

    ``prior * sum over c of p_c * (1 - p_c) * exp(b_c)``, where ``b`` is what the backbone makes of ``[image, clipped logits]``, kept
    between -4 and 4: one unbounded exponential early in training spoils the rest of it. The expected squared error ``p * (1 - p)`` of
    an answer is known without learning; what is learned is its share, which may be large where the coarse network is sure and tends
    to be wrong. Trained on realised gain with ``torch.nn.PoissonNLLLoss(log_input=False)``, whose minimum is the mean: means are
    what a window's score adds up, and they stay honest where most places gain nothing and few gain much.

    Args:
        backbone: any network that takes ``Ci + channels`` channels, keeps the spatial size and returns ``channels``.
        channels: number ``C`` of logit channels.
        clip: the backbone sees logits clipped to ``-clip`` and ``clip`` and divided by ``clip``.
        activation: ``"softmax"`` or ``"sigmoid"``; softmax for more than one channel when not given.
        prior: share of the expected error that is gained where the backbone answers 0.
        divisible: the backbone gets sizes that are multiples of this number, by repeating the border.

    Raises:
        NetworkError: when an argument does not fit.

    Example:
        >>> net = GainNet(nn.Conv2d(3 + 1, 1, 3, padding=1), channels=1)
        >>> net(torch.zeros(2, 3, 10, 7), torch.zeros(2, 1, 10, 7)).shape
        torch.Size([2, 1, 10, 7])
    """

    def __init__(
        self,
        backbone: nn.Module,
        channels: int,
        clip: float = 8.0,
        *,
        activation: str | None = None,
        prior: float = 0.1,
        divisible: int = 1,
    ) -> None:
        super().__init__()
        if channels < 1 or divisible < 1:
            raise NetworkError(f"channels and divisible must be 1 or more, got {channels} and {divisible}.")
        if activation not in (None, "softmax", "sigmoid"):
            raise NetworkError(f"activation must be 'softmax' or 'sigmoid', got {activation!r}.")
        if not prior > 0:
            raise NetworkError(f"prior must be above 0, got {prior}.")
        self.backbone = backbone
        self.channels = channels
        self.clip = check_clip(clip)
        self.activation = activation or ("softmax" if channels > 1 else "sigmoid")
        self.prior = float(prior)
        self.divisible = divisible

    def forward(self, image: Tensor, logits: Tensor) -> Tensor:
        """Expected gain of every voxel, (B, 1, *grid), 0 or more.

        Args:
            image: (B, Ci, *grid).
            logits: (B, C, *grid).

        Raises:
            NetworkError: when the logits have another number of channels than the network was built for.
        """
        if logits.shape[1] != self.channels:
            raise NetworkError(
                f"the scorer was built for {self.channels} logit channels, the coarse network gives {logits.shape[1]}; "
                f"build GainNet with channels={logits.shape[1]}."
            )
        seen = torch.cat([image, clipped(logits, self.clip).to(image.dtype)], dim=1)
        missing = [-n % self.divisible for n in seen.shape[2:]]
        if any(missing):
            seen = F.pad(seen, [n for m in reversed(missing) for n in (0, m)], mode="replicate")
        answer = self.backbone(seen)
        inside = (slice(None), slice(None), *[slice(0, n) for n in image.shape[2:]])
        p = probabilities(logits, self.activation)
        share = (_BOUND * torch.tanh(answer[inside] / _BOUND)).exp()
        return self.prior * (p * (1 - p) * share).sum(1, keepdim=True)
