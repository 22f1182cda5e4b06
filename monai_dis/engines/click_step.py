"""One training iteration of the network of clicks: clicks on the largest errors of an answer, then the corrected answer's loss.

Letters in shapes: ``K`` windows, ``Ci`` image channels, ``C`` classes, ``G`` guidance channels, ``*roi`` window size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor

from monai_dis.errors import NetworkError
from monai_dis.inferers.clicks import SIGMA, gaussian

__all__ = ["ClickStep", "largest_error"]

#: Width of the box in which errors add up, in voxels.
_BOX = 7
_OUTSIDE = 0.25


class ClickStep:
    """What MONAI's ``SupervisedTrainer(iteration_update=...)`` runs for a `monai_dis.networks.ClickNet`, of one class or several.

    A reader clicks where most is wrong, sees what comes of it, and clicks again; so does this step. Each answer counts in the loss.

    Args:
        coarse_key: key of the logits before refinement.
        refined_key: key of the logits that stand.
        most_clicks: largest number of clicks in one iteration; the number is drawn.
    """

    def __init__(self, coarse_key: str = "coarse", refined_key: str = "refined", most_clicks: int = 3) -> None:
        self.coarse_key = coarse_key
        self.refined_key = refined_key
        self.most_clicks = most_clicks

    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Train on one batch; returns MONAI's output: image, label, pred (K, C, *roi) and loss."""
        device = engine.state.device
        image, label, below, answer = (
            batch[key].to(device) for key in (Keys.IMAGE, Keys.LABEL, self.coarse_key, self.refined_key)
        )
        if label.shape[1] != 1:
            raise NetworkError(f"clicks are trained on class indices in one channel, got {label.shape[1]} channels.")
        output: dict[str, Any] = {Keys.IMAGE: image, Keys.LABEL: label}
        engine.state.output = output
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        guidance = torch.zeros((len(image), max(2, answer.shape[1]), *image.shape[2:]), device=device)
        total = torch.zeros((), device=device)
        rounds = int(torch.randint(1, self.most_clicks + 1, ()).item())
        for _ in range(rounds):
            guidance = with_clicks(guidance, answer, label)
            corrected = engine.network(image, below, answer, guidance)
            total = total + engine.loss_function(corrected, label) / rounds
            answer = corrected.detach()
        output[Keys.PRED] = answer
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        output[Keys.LOSS] = total
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        if total.requires_grad:  # not where nothing in the batch was wrong, so that nobody clicked
            total.backward()  # type: ignore[no-untyped-call]
            engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
            engine.optimizer.step()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        output[Keys.LOSS] = total.detach()
        return output


def with_clicks(guidance: Tensor, answer: Tensor, label: Tensor) -> Tensor:
    """Add a click on the largest error of each window, where there is one.

    Args:
        guidance: (K, G, *roi): a channel for the background and one for each class.
        answer: (K, C, *roi) logits, one channel with a sigmoid or ``G`` with a softmax.
        label: (K, 1, *roi) class indices.
    """
    added = guidance.clone()
    for window, place in enumerate(largest_error(answer, label)):
        if place is not None:
            channel = round(float(label[window, 0][place]))
            blob = gaussian([float(p) for p in place], label.shape[2:], SIGMA).to(guidance)
            added[window, channel] = torch.maximum(added[window, channel], blob)
    return added


def largest_error(answer: Tensor, label: Tensor, outside: float = _OUTSIDE) -> list[tuple[int, ...] | None]:
    """The wrong voxel with most errors of its kind around it, nearer the middle of the window if in doubt.

    Args:
        answer: (K, C, *roi) logits.
        label: (K, 1, *roi) class indices.
        outside: weight of errors away from the middle of the window; 1 where that does not matter, as in a whole image.

    Returns:
        for each window the voxel, or None where nothing is wrong.
    """
    truth = label.round().long()
    found = (answer > 0).long() if answer.shape[1] == 1 else answer.argmax(dim=1, keepdim=True)
    roi = tuple(label.shape[2:])
    pool = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[len(roi)]
    middle = torch.full(roi, outside, device=label.device)
    middle[tuple(slice(n // 4, n - n // 4) for n in roi)] = 1.0
    score = torch.zeros(label.shape, dtype=torch.float32, device=label.device)
    for kind in range(max(2, answer.shape[1])):  # what is there, and was not found
        missed = ((truth == kind) & (found != kind)).float()
        if bool(missed.any()):
            score = torch.maximum(score, missed * pool(missed, _BOX, stride=1, padding=_BOX // 2) * middle)
    places: list[tuple[int, ...] | None] = []
    for window in score[:, 0]:
        best = int(window.argmax())
        if float(window.flatten()[best]) <= 0:
            places.append(None)
            continue
        places.append(tuple(int(i) for i in torch.unravel_index(torch.tensor(best), roi)))
    return places
