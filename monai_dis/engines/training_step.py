"""One training iteration of any stage, for MONAI's ``SupervisedTrainer(iteration_update=...)``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor

from monai_dis.inferers.grid import resample

__all__ = ["TrainingStep"]


class TrainingStep:
    """Forward, loss, backward, step; with autocast on any device and, for a refine network, conditioning.

    MONAI's own update autocasts on CUDA only and knows no conditioning; the rest is the same, events included.

    Args:
        autocast: ``"bfloat16"``, ``"float16"`` or None for full precision.
        coarse_key: key of the coarse logits that condition the network, or None for an unconditioned network.
        self_conditioning: share of the iterations in which the conditioning is first refined at half the resolution, as a finer level
            of inference finds it.
        conditioner: trained network that does so; the network in training itself when not given.
        clip_gradient: largest norm of the gradient, or None.
    """

    def __init__(
        self,
        autocast: str | None = None,
        coarse_key: str | None = None,
        self_conditioning: float = 0.0,
        conditioner: torch.nn.Module | None = None,
        clip_gradient: float | None = None,
    ) -> None:
        self.dtype: torch.dtype | None = getattr(torch, autocast) if autocast else None
        self.coarse_key = coarse_key
        self.self_conditioning = self_conditioning
        self.conditioner = conditioner
        self.clip_gradient = clip_gradient

    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Train on one batch; returns MONAI's output: image, label, pred (B, C, *spatial) and loss."""
        device = engine.state.device
        image, label = batch[Keys.IMAGE].to(device), batch[Keys.LABEL].to(device)
        inputs = [image]
        if self.coarse_key is not None:
            conditioner = engine.network if self.conditioner is None else self.conditioner.to(device)
            inputs.append(self._conditioning(conditioner, image, batch[self.coarse_key].to(device)))
        output: dict[str, Any] = {Keys.IMAGE: image, Keys.LABEL: label}
        engine.state.output = output

        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        with self._autocast(image):
            prediction = engine.network(*inputs)
        output[Keys.PRED] = prediction.float()
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        output[Keys.LOSS] = engine.loss_function(output[Keys.PRED], label)
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        output[Keys.LOSS].backward()
        if self.clip_gradient is not None:
            torch.nn.utils.clip_grad_norm_(engine.network.parameters(), self.clip_gradient)
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        engine.optimizer.step()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        output[Keys.LOSS] = output[Keys.LOSS].detach()
        output[Keys.PRED] = output[Keys.PRED].detach()
        return output

    def _conditioning(self, network: torch.nn.Module, image: Tensor, coarse: Tensor) -> Tensor:
        if torch.rand(()).item() >= self.self_conditioning:
            return coarse
        size = tuple(image.shape[2:])
        half = tuple((s + 1) // 2 for s in size)
        network.eval()
        with torch.no_grad(), self._autocast(image):
            refined: Tensor = network(resample(image, half), resample(coarse, half))
        return resample(refined.float(), size)

    def _autocast(self, image: Tensor) -> AbstractContextManager[Any]:
        return nullcontext() if self.dtype is None else torch.autocast(image.device.type, self.dtype)
