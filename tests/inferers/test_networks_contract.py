"""Every network in the list through the same test: as drop-in, and as the two stages of a conditioned pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from monai.inferers import sliding_window_inference
from monai.networks.nets import (
    UNETR,
    AttentionUnet,
    BasicUNet,
    DynUNet,
    FlexibleUNet,
    SegResNet,
    SwinUNETR,
    UNet,
    VNet,
)
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from monai_dis.inferers import Budget, IterativeInferer
from monai_dis.networks import ResidualRefiner, TwoStageNet

Maker = Callable[[int, int, int], nn.Module]


def dyn_unet(dims: int, channels: int, classes: int) -> nn.Module:
    kernels, strides = [3, 3, 3], [1, 2, 2]
    return DynUNet(dims, channels, classes, kernels, strides, strides[1:], filters=[4, 8, 16])


NETWORKS: list[tuple[str, Maker, tuple[int, ...]]] = [
    ("unet", lambda d, i, o: UNet(d, i, o, (4, 8, 16), (2, 2), num_res_units=1), (2, 3)),
    ("basic-unet", lambda d, i, o: BasicUNet(d, i, o, (4, 4, 8, 8, 8, 4)), (2, 3)),
    ("segresnet", lambda d, i, o: SegResNet(d, 8, i, o, blocks_down=(1, 1, 1), blocks_up=(1, 1)), (2, 3)),
    ("dynunet", dyn_unet, (2, 3)),
    ("attention-unet", lambda d, i, o: AttentionUnet(d, i, o, (4, 8, 16), (2, 2)), (2, 3)),
    ("vnet", lambda d, i, o: VNet(d, i, o), (2,)),
    (
        "swin-unetr",
        lambda d, i, o: SwinUNETR(i, o, feature_size=12, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), spatial_dims=d),
        (2,),
    ),
    ("unetr", lambda d, i, o: UNETR(i, o, (64,) * d, 4, 16, 32, 2, spatial_dims=d), (2,)),
    (
        "flexible-unet",
        lambda d, i, o: FlexibleUNet(
            i, o, "resnet10", pretrained=False, decoder_channels=(16, 16, 8, 8, 4), spatial_dims=d
        ),
        (2,),
    ),
]
CASES = [pytest.param(make, dims, id=f"{name}-{dims}d") for name, make, all_dims in NETWORKS for dims in all_dims]


@pytest.mark.parametrize(("make", "dims"), CASES)
def test_drop_in(make: Maker, dims: int) -> None:
    """Odd sizes that most networks refuse, in two batches; a network of fixed size gets its windows everywhere."""
    size = (90, 71) if dims == 2 else (21, 40, 35)
    roi = 64 if dims == 2 else 32
    image = torch.randn(2, 1, *size)
    network = make(dims, 1, 2).eval()
    coarse: dict[str, Any] = {"coarse_scale": 2}
    if type(network) is UNETR:
        coarse = {"levels": [{"scale": 2, "roi_size": roi}, 1]}
    inferer = IterativeInferer(roi, 2, 0.25, **coarse, budget=Budget(windows=3))

    with FlopCounterMode(display=False) as counter:
        result = inferer.run(image, network)
    everywhere = IterativeInferer(roi, 2, 0.25, **coarse)(image, network)

    assert result.logits().shape == (2, 2, *size)
    assert len(result.windows) == 2 * min(3, result.windows_total // 2)
    assert result.statistics.operations == pytest.approx(counter.get_total_flops() / 2, rel=0.01)
    with torch.no_grad():
        want = sliding_window_inference(image, roi, 2, network, 0.25)
    torch.testing.assert_close(everywhere, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "dims"), [c for c in CASES if c.id and c.id.split("-")[0] not in ("vnet", "unetr", "flexible")]
)
def test_a_conditioned_pair_starts_at_the_coarse_answer(make: Maker, dims: int) -> None:
    size = (90, 71) if dims == 2 else (20, 41, 32)
    roi = 64 if dims == 2 else 32
    pair = TwoStageNet(make(dims, 1, 2), ResidualRefiner(make(dims, 3, 2), channels=2), "logits").eval()
    image = torch.randn(1, 1, *size)

    refined = IterativeInferer(roi, levels=[4, 2, 1], budget=Budget(windows=3))(image, pair)
    coarse = IterativeInferer(roi, levels=[4, 2, 1], budget=Budget(windows=0))(image, pair)

    torch.testing.assert_close(refined, coarse, rtol=1e-6, atol=1e-5)
    nn.init.normal_(pair.refine.head.weight)
    changed = IterativeInferer(roi, levels=[4, 2, 1], budget=Budget(windows=3))(image, pair)
    assert not torch.allclose(changed, coarse, atol=1e-3)
