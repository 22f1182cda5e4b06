"""Clicks on a mosaic: laws of what they change and what they leave."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceCELoss
from torch import nn

from monai_dis.engines.click_step import ClickStep, largest_error, with_clicks
from monai_dis.errors import ImageError, NetworkError
from monai_dis.inferers import Budget, IterativeInferer
from monai_dis.inferers.clicks import Click, click_corner, draw_guidance, mosaic_of_labels, with_click
from monai_dis.networks import ClickNet, TwoStageNet


def pair(dims: int, clicks: nn.Module | None = None, channels: int = 1) -> TwoStageNet:
    """Bright is foreground."""
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    networks = []
    for _ in range(2):
        each = conv(1, channels, 1)
        nn.init.constant_(each.weight, 10.0)
        nn.init.constant_(each.bias, -5.0)
        networks.append(each)
    return TwoStageNet(networks[0], networks[1], clicks=clicks)


class Fill(nn.Module):
    """Everything in the window becomes what the first guidance channel with a click says."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        foreground = x[:, -1:].flatten(1).amax(1) > 0
        return torch.where(foreground.reshape(-1, *[1] * (x.ndim - 1)), 1.0, -1.0).expand(-1, 1, *x.shape[2:])


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("trained", [False, True])
def test_a_click_is_honoured_and_the_rest_stays_bit_for_bit(dims: int, trained: bool) -> None:
    size = (40, 36, 20)[:dims]
    image = torch.rand(1, 1, *size)
    network = pair(dims, ClickNet(Fill(), 1, (8,) * dims, scale=2) if trained else None)
    inferer = IterativeInferer(roi_size=8, coarse_scale=4, budget=Budget(windows=3))
    result = inferer.run(image, network)
    before = result.logits()
    position = (11.0, 20.0, 9.0)[:dims]
    at = (0, 0, *map(int, position))
    label = 0 if bool(before[at] > 0) else 1
    mosaic, corner, roi = with_click(result.mosaic, image, network, [Click(position, label)], inferer.settings)
    after = mosaic.compose()
    assert bool(after[at] > 0) == bool(label)
    inside = torch.zeros_like(before, dtype=torch.bool)
    inside[(0, 0, *[slice(max(c, 0), c + r) for c, r in zip(corner, roi, strict=True)])] = True
    assert roi == ((16,) * dims if trained else (8,) * dims)
    assert torch.equal(after[~inside], before[~inside])
    assert not torch.equal(after[inside], before[inside])
    assert torch.equal(result.mosaic.compose(), before)  # the answer that it began with is as it was


def test_without_a_click_in_the_window_the_network_changes_nothing() -> None:
    network = ClickNet(nn.Conv2d(5, 1, 3, padding=1), 1, (8, 8))
    refined = torch.randn(2, 1, 8, 8)
    guidance = torch.zeros(2, 2, 8, 8)
    assert torch.equal(network(torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8), refined, guidance), refined)
    guidance[1, 0, 4, 4] = 1
    answer = network(torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8), refined, guidance)
    assert torch.equal(answer[0], refined[0]) and not torch.equal(answer[1], refined[1])


def test_the_network_of_clicks_does_not_change_an_automatic_run() -> None:
    image, inferer = torch.rand(1, 1, 32, 32), IterativeInferer(roi_size=8, coarse_scale=4, budget=Budget(windows=3))
    assert torch.equal(inferer(image, pair(2, ClickNet(Fill(), 1, (8, 8)))), inferer(image, pair(2)))


class Sized(nn.Module):
    """Keeps the sizes of the windows that it is given, and answers with their voxels' places in the image."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append(tuple(x.shape[2:]))
        return x.clone()


@pytest.mark.parametrize("position", [(12.0, 12.0), (0.0, 31.0), (3.0, 17.0)])
def test_the_refine_network_gets_windows_as_large_as_in_an_automatic_run(position: tuple[float, float]) -> None:
    image = torch.arange(32.0 * 32).reshape(1, 1, 32, 32) + 1
    network = TwoStageNet(nn.Conv2d(1, 1, 1), Sized(), clicks=ClickNet(nn.Conv2d(5, 1, 1), 1, (8, 8)))
    nn.init.zeros_(network.clicks.backbone.weight)
    nn.init.zeros_(network.clicks.backbone.bias)
    inferer = IterativeInferer(roi_size=(16, 20), coarse_scale=4, budget=Budget(windows=0))
    result = inferer.run(image, network)
    mosaic, corner, roi = with_click(result.mosaic, image, network, [Click(position, 1)], inferer.settings)
    assert network.refine.sizes == [(16, 20)] and roi == (8, 8)
    # In the middle of its window the answer is the refine network's, which is the image: it was read where it lies.
    inner = (0, 0, *[slice(c + 3, c + 5) for c in corner])
    assert torch.allclose(mosaic.compose()[inner], image[inner])


class Constant(nn.Module):
    """One answer, whatever the window; another each time."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return torch.full_like(x, 100.0 * self.calls)


def test_a_click_refines_only_what_no_window_answered_before() -> None:
    network = TwoStageNet(nn.Conv2d(1, 1, 1), Constant(), clicks=ClickNet(nn.Conv2d(5, 1, 1), 1, (8, 8)))
    nn.init.zeros_(network.clicks.backbone.weight)
    nn.init.zeros_(network.clicks.backbone.bias)
    inferer = IterativeInferer(roi_size=16, coarse_scale=4, merge="replace", budget=Budget(windows=0))
    image = torch.rand(1, 1, 32, 32)
    mosaic = inferer.run(image, network).mosaic
    mosaic.add_windows(1, [0], [(0, 0)], torch.full((1, 1, 16, 16), 7.0))
    after = with_click(mosaic, image, network, [Click((16.0, 8.0), 1)], inferer.settings)[0].compose()
    assert float(after[0, 0, 14, 8]) == 7.0  # in the window of before
    assert float(after[0, 0, 17, 8]) == 100.0  # beside it


def test_without_a_network_of_clicks_a_window_is_refined_on_its_levels_grid() -> None:
    network = TwoStageNet(nn.Conv2d(1, 1, 1), Sized())
    inferer = IterativeInferer(roi_size=8, levels=[8, 2], budget=Budget(windows=0))
    image = torch.rand(1, 1, 63, 64)
    _, corner, roi = with_click(
        inferer.run(image, network).mosaic, image, network, [Click((30.0, 30.0), 1)], inferer.settings
    )
    assert network.refine.sizes == [(8, 8)] and roi == (16, 16) and corner == (22, 22)


def test_later_clicks_keep_earlier_ones() -> None:
    image, network = torch.zeros(1, 1, 32, 32), pair(2)
    inferer = IterativeInferer(roi_size=8, coarse_scale=4, budget=Budget(windows=0))
    mosaic, clicks = inferer.run(image, network).mosaic, []
    for place in ((10.0, 10.0), (13.0, 10.0), (10.0, 14.0)):
        clicks.append(Click(place, 1))
        mosaic, *_ = with_click(mosaic, image, network, clicks, inferer.settings)
    answer = mosaic.compose()
    assert all(bool(answer[0, 0, int(c.position[0]), int(c.position[1])] > 0) for c in clicks)


def test_several_classes() -> None:
    network = pair(2, channels=3)
    image = torch.rand(1, 1, 24, 24)
    inferer = IterativeInferer(roi_size=8, coarse_scale=4, budget=Budget(windows=2))
    mosaic = inferer.run(image, network).mosaic
    for label in (2, 1, 0):
        mosaic, *_ = with_click(mosaic, image, network, [Click((12.0, 12.0), label)], inferer.settings)
        assert int(mosaic.labels()[0, 0, 12, 12]) == label


def test_a_click_outside_is_refused() -> None:
    inferer = IterativeInferer(roi_size=8, coarse_scale=4)
    image = torch.rand(1, 1, 16, 16)
    mosaic = inferer.run(image, pair(2)).mosaic
    with pytest.raises(ImageError, match="outside the image of 16 x 16"):
        with_click(mosaic, image, pair(2), [Click((16.0, 3.0), 1)], inferer.settings)


def test_labels_become_a_mosaic_that_says_the_same() -> None:
    labels = torch.randint(0, 3, (9, 7))
    assert torch.equal(mosaic_of_labels(labels, "softmax", 3).labels()[0, 0].long(), labels)
    one = (labels > 0).long()
    assert torch.equal(mosaic_of_labels(one, "sigmoid", 1).labels()[0, 0].long(), one)


@pytest.mark.parametrize(
    ("position", "corner"),
    [((0.0, 0.0), (0, 0)), ((31.0, 31.0), (8, 8)), ((15.5, 15.5), (4, 4)), ((10.0, 21.0), (1, 7))],
)
def test_windows_lie_around_clicks_and_inside_the_image(position: tuple[float, ...], corner: tuple[int, ...]) -> None:
    assert click_corner(position, (32, 32), (16, 16), (8, 8)) == corner


def test_guidance_is_where_the_click_is() -> None:
    maps = draw_guidance([Click((9.0, 5.0), 1)], 2, (16, 16), (16, 16), (4, 4), (8, 8))
    assert maps.shape == (2, 8, 8) and not maps[0].any()
    assert int(maps[1].argmax()) == 5 * 8 + 1 and float(maps.max()) == 1.0


def test_the_simulated_reader_clicks_where_most_is_wrong() -> None:
    label, answer = torch.zeros(2, 1, 16, 16), torch.full((2, 1, 16, 16), -3.0)
    label[0, 0, 5:10, 5:10] = 1  # missed
    answer[0, 0, 0, 15] = 3.0  # one voxel too many
    places = largest_error(answer, label)
    assert places[0] is not None and all(6 <= p <= 8 for p in places[0]) and places[1] is None
    # of two errors of a size the one in the middle of a window, and in a whole image whichever comes first
    label[0] = 0
    label[0, 0, :3, :3], label[0, 0, 7:10, 7:10] = 1, 1
    assert largest_error(answer, label)[0] == (7, 7) and largest_error(answer, label, outside=1.0)[0] == (0, 0)


def test_of_several_classes_each_is_clicked_where_it_was_not_found() -> None:
    label, answer = torch.zeros(1, 1, 16, 16), torch.zeros(1, 3, 16, 16)
    answer[:, 0] = 1.0
    label[0, 0, 5:10, 5:10] = 2  # taken for background
    label[0, 0, 0, 0] = 1
    guidance = with_clicks(torch.zeros(1, 3, 16, 16), answer, label)
    assert guidance.flatten(2).amax(2).tolist() == [[0.0, 0.0, 1.0]]
    answer[0, 2, 5:10, 5:10] = 2.0  # now it is found, and one voxel is left
    assert largest_error(answer, label) == [(0, 0)]


@pytest.mark.parametrize("scale", [2, (2, 1)])
def test_a_grid_of_clicks_may_be_shrunk_along_some_axes_only(scale: int | tuple[int, int]) -> None:
    network = pair(2, ClickNet(Fill(), 1, (8, 8), scale=scale))
    image, inferer = torch.zeros(1, 1, 32, 32), IterativeInferer(roi_size=8, coarse_scale=4)
    mosaic = inferer.run(image, network).mosaic
    mosaic, _, roi = with_click(mosaic, image, network, [Click((16.0, 16.0), 1)], inferer.settings)
    assert roi == ((16, 16) if scale == 2 else (16, 8)) and bool(mosaic.compose()[0, 0, 16, 16] > 0)


@pytest.mark.parametrize("scale", [0, (2, 1, 1), (1.5, 1)])
def test_a_scale_that_does_not_fit_is_refused(scale: object) -> None:
    with pytest.raises(NetworkError, match="whole numbers"):
        ClickNet(Fill(), 1, (8, 8), scale=scale)  # type: ignore[arg-type]


@pytest.mark.parametrize("classes", [1, 3])
def test_the_step_teaches_a_network_to_follow_clicks(classes: int) -> None:
    from types import SimpleNamespace

    torch.manual_seed(1)
    guidance = max(2, classes)
    network = ClickNet(
        nn.Sequential(
            nn.Conv2d(1 + 2 * classes + guidance, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, classes, 5, padding=2)
        ),
        classes,
        (16, 16),
    )
    several = DiceCELoss(softmax=True, to_onehot_y=True, lambda_dice=0.0)
    engine = SimpleNamespace(
        state=SimpleNamespace(device="cpu", output=None),
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), 0.02),
        loss_function=nn.BCEWithLogitsLoss() if classes == 1 else several,
        fire_event=lambda event: None,
    )
    step, losses = ClickStep(), []
    for _ in range(30):
        label = torch.zeros(4, 1, 16, 16)
        label[:, :, 4:12, 4:12] = classes // 2 + 1 if classes > 1 else 1
        zeros = torch.full((4, classes, 16, 16), -2.0)
        zeros[:, : classes - 1] += 2.0 * torch.arange(classes - 1, 0, -1).reshape(1, -1, 1, 1)
        batch = {"image": torch.rand(4, 1, 16, 16), "label": label, "coarse": zeros, "refined": zeros}
        losses.append(float(step(engine, batch)["loss"]))
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
