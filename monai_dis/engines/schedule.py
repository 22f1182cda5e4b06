"""The schedule of the learning rate: one cycle, made for the length that is asked for now."""

from __future__ import annotations

import warnings
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from monai_dis.errors import DataError

__all__ = ["OneCycle"]

_NUDGE = 1e-9


class OneCycle(OneCycleLR):
    """PyTorch's ``OneCycleLR`` over all steps of a stage.

    Loaded from a checkpoint of a shorter or longer training it goes on at the step where that was, on the cycle of its own
    length; PyTorch would go on with the other's, and end in an error beyond its last step.

    Args:
        optimizer: whose learning rate is set.
        max_lr: largest learning rate.
        epochs: of the stage.
        steps_per_epoch: steps of each.
        pct_start: share of the steps in which the learning rate rises.

    Raises:
        DataError: when there is no step.
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: float, epochs: int, steps_per_epoch: int, pct_start: float = 0.3
    ) -> None:
        for name, value in (("epochs", epochs), ("steps_per_epoch", steps_per_epoch)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise DataError(f"{name} is {value!r}; a stage that trains needs a whole number of 1 or more.")
        steps = epochs * steps_per_epoch
        if pct_start * steps == 1:  # PyTorch divides by zero where the rise takes one step exactly
            pct_start += _NUDGE
        super().__init__(optimizer, max_lr, total_steps=steps, pct_start=pct_start)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at the step of another run's state."""
        own = {key: self.__dict__[key] for key in ("total_steps", "_schedule_phases")}
        super().load_state_dict({**state_dict, **own})
        # At the very end there is no step to set a rate for.
        if self.last_epoch <= self.total_steps:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that rates are computed between two steps
                self._last_lr = [float(rate) for rate in self.get_lr()]
            for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
                group["lr"] = rate
