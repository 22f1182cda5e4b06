"""One iteration of training equals MONAI's own where both can do it, and conditions a refine network where only ours can."""

from __future__ import annotations

import copy

import pytest
import torch
from monai.engines import SupervisedTrainer
from monai.losses import DiceCELoss
from monai.networks.nets import BasicUNet
from torch import nn

from monai_dis.engines.training_step import TrainingStep
from monai_dis.networks import ResidualRefiner

FEATURES = (4, 4, 8, 8, 8, 4)


def batches() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 1, 32, 32, generator=generator)
    return [{"image": image, "label": (image > 0.5).float(), "coarse": torch.zeros(2, 1, 32, 32)}]


def train(network: nn.Module, step: TrainingStep | None, iterations: int = 3, rate: float = 0.1) -> list[float]:
    losses: list[float] = []
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=iterations,
        train_data_loader=batches(),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), rate),
        loss_function=DiceCELoss(sigmoid=True),
        iteration_update=step,
        decollate=False,
    )
    from ignite.engine import Events

    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(float(engine.state.output["loss"]))
    )
    trainer.run()
    return losses


def test_without_conditioning_it_is_monais_update() -> None:
    ours = BasicUNet(spatial_dims=2, in_channels=1, out_channels=1, features=FEATURES)
    theirs = copy.deepcopy(ours)
    assert train(ours, TrainingStep()) == pytest.approx(train(theirs, None), abs=1e-7)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-7, rtol=0)


def test_bfloat16_learns_on_a_cpu() -> None:
    network = BasicUNet(spatial_dims=2, in_channels=1, out_channels=1, features=FEATURES)
    losses = train(network, TrainingStep(autocast="bfloat16"), iterations=20)
    assert losses[-1] < losses[0]


class Recorder(nn.Module):
    """A refine network that notes its conditioning and adds one to it."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.ones(1))
        self.seen: list[torch.Tensor] = []

    def forward(self, window: torch.Tensor, conditioning: torch.Tensor) -> torch.Tensor:
        self.seen.append(conditioning.detach().clone())
        return conditioning + self.offset + 0 * window


def test_self_conditioning_hands_over_the_networks_own_answer() -> None:
    network = Recorder()
    train(network, TrainingStep(coarse_key="coarse", self_conditioning=1.0), iterations=1, rate=0.0)
    first, second = network.seen
    assert first.shape == (2, 1, 16, 16) and not first.any()
    torch.testing.assert_close(second, torch.ones(2, 1, 32, 32))


def test_a_conditioner_refines_the_conditioning_in_place_of_the_network() -> None:
    network, conditioner = Recorder(), Recorder()
    with torch.no_grad():
        conditioner.offset.fill_(5.0)
    train(
        network,
        TrainingStep(coarse_key="coarse", self_conditioning=1.0, conditioner=conditioner),
        iterations=1,
        rate=0.0,
    )
    assert [tuple(c.shape[2:]) for c in conditioner.seen] == [(16, 16)]
    assert len(network.seen) == 1
    torch.testing.assert_close(network.seen[0], torch.full((2, 1, 32, 32), 5.0))


def test_without_self_conditioning_the_coarse_answer_is_handed_over() -> None:
    network = Recorder()
    train(network, TrainingStep(coarse_key="coarse"), iterations=1)
    assert len(network.seen) == 1 and not network.seen[0].any()


def test_a_refiner_starts_from_the_coarse_answer_and_leaves_it() -> None:
    backbone = BasicUNet(spatial_dims=2, in_channels=2, out_channels=4, features=FEATURES)
    network = ResidualRefiner(backbone, channels=1, features=4)
    losses = train(network, TrainingStep(coarse_key="coarse"), iterations=30, rate=0.3)
    (batch,) = batches()
    start = DiceCELoss(sigmoid=True)(batch["coarse"], batch["label"]).item()
    assert losses[0] == pytest.approx(start, abs=1e-6)
    assert losses[-1] < losses[0] - 0.05


def test_gradients_are_clipped() -> None:
    network = BasicUNet(spatial_dims=2, in_channels=1, out_channels=1, features=FEATURES)
    before = [p.detach().clone() for p in network.parameters()]
    train(network, TrainingStep(clip_gradient=1e-3), iterations=1, rate=1.0)
    moved = torch.sqrt(sum(((p - q) ** 2).sum() for p, q in zip(network.parameters(), before, strict=True)))
    assert moved.item() == pytest.approx(1e-3, rel=0.01)
