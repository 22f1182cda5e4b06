"""A slide's answer is that of the same image in memory: the same windows, the same logits, whatever the tiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from slide_files import spots, write_tiff
from torch import Tensor, nn

from monai_dis.inferers import Budget, IterativeInferer, IterativeResult
from monai_dis.inferers.score import score_windows
from monai_dis.inferers.windows import window_grid
from monai_dis.networks import TwoStageNet
from monai_dis.slides.mosaic import ComputedPlanes
from monai_dis.slides.opening import open_slide
from monai_dis.slides.run import SlideRun, run_slide
from monai_dis.slides.tissue import Tissue


class Strided(nn.Module):
    """Two convolutions with strides and back: its answer depends on where multiples of four begin."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, 4, 5, stride=4, padding=2)
        self.up = nn.ConvTranspose2d(4, classes, 4, stride=4)
        self.side = nn.Conv2d(channels, classes, 3, padding=1)

    def forward(self, x: Tensor, below: Tensor | None = None) -> Tensor:
        seen = x if below is None else torch.cat([x, below], 1)
        return 4 * (self.up(torch.tanh(self.down(seen))) + self.side(seen))


def network(classes: int) -> TwoStageNet:
    torch.manual_seed(3)
    stages = [Strided(3, classes), *(Strided(3 + classes, classes) for _ in range(2))]
    scorer = _Gain()
    return TwoStageNet(stages[0], stages[1:], conditioning="logits", scorer=scorer).eval()


class _Gain(nn.Module):
    def forward(self, image: Tensor, logits: Tensor) -> Tensor:
        return torch.sigmoid(image.mean(1, keepdim=True) - logits.abs().mean(1, keepdim=True))


def both(tmp_path: Path, inferer: IterativeInferer, classes: int, size: tuple[int, int] = (2900, 700)) -> Any:
    """The result in memory and that of the slide; coarse grids of over 1,280 pixels are cut."""
    picture = spots(*size)
    path = write_tiff(tmp_path / "a.tif", picture)
    tissue = Tissue(np.ones((20, 10), dtype=bool))
    net = network(classes)
    whole = inferer.run(torch.from_numpy(picture.transpose(2, 1, 0).copy()).float()[None] / 255, net)
    folder = tmp_path / "work"
    folder.mkdir(exist_ok=True)
    run = SlideRun(open_slide(path), net, inferer.settings, lambda x: x / 255, tissue, folder)
    return whole, run_slide(run), run


def assert_same(slide: IterativeResult, whole: IterativeResult) -> None:
    assert [(w.level, w.corner, w.grid_corner) for w in slide.windows] == [
        (w.level, w.corner, w.grid_corner) for w in whole.windows
    ]
    assert len(whole.windows) > 0
    assert torch.allclose(slide.mosaic.compose(), whole.mosaic.compose(), atol=1e-5)
    a, b = slide.statistics, whole.statistics
    assert a.windows_total == b.windows_total and a.uncertain_left == pytest.approx(b.uncertain_left, abs=1e-6)
    assert a.dice_coarse_refined == pytest.approx(b.dice_coarse_refined, abs=1e-6)
    assert a.operations >= b.operations and a.operations_full_pass == b.operations_full_pass


@pytest.mark.parametrize(
    ("changes", "classes"),
    [
        pytest.param({}, 1, id="entropy"),
        pytest.param({"score": "poster", "merge": "replace"}, 1, id="poster"),
        pytest.param({"score": "gain", "mode": "gaussian", "overlap": 0.5}, 3, id="gain"),
        pytest.param({"merge": "entropy", "activation": "sigmoid", "padding_mode": "replicate"}, 2, id="overlapping-classes"),
        pytest.param({"selection": "depth", "levels": [2, {"scale": 1, "halo": 8}]}, 3, id="depth-and-halo"),
        pytest.param({"levels": [4, 2, 1], "overlap": 0.5}, 3, id="three-levels"),
        pytest.param({"levels": [{"scale": 2, "roi_size": 96, "overlap": 0.25, "mode": "gaussian"}, 1]}, 1, id="dense-windows"),
        pytest.param({"levels": [{"scale": 2.3}, 1.3, 1]}, 1, id="uneven-scales"),
    ],
)  # fmt: skip
def test_slide_equals_memory(changes: dict[str, Any], classes: int, tmp_path: Path) -> None:
    inferer = IterativeInferer(64, 4, coarse_scale=2, budget=Budget(windows=40)).replaced(**changes)
    whole, slide, _ = both(tmp_path, inferer, classes)
    assert_same(slide, whole)


def test_an_image_smaller_than_a_window(tmp_path: Path) -> None:
    whole, slide, _ = both(tmp_path, IterativeInferer(64, budget=Budget(windows=3)), 1, size=(50, 130))
    assert_same(slide, whole)


def test_a_budget_of_operations_buys_the_same_windows(tmp_path: Path) -> None:
    inferer = IterativeInferer(64, 4, coarse_scale=2, budget=Budget(operations=0.4))
    whole, slide, _ = both(tmp_path, inferer, 1)
    assert_same(slide, whole)
    assert slide.statistics.operations > whole.statistics.operations, "what is read around tiles is counted"


def test_levels_of_the_file_are_used_where_they_exist(tmp_path: Path) -> None:
    picture = spots(2400, 800)
    path = write_tiff(tmp_path / "a.tif", picture, levels=3)
    pyramid = open_slide(path)
    inferer = IterativeInferer(64, 4, coarse_scale=4, budget=Budget(windows=0))
    run = SlideRun(
        pyramid, network(1), inferer.settings, lambda x: x / 255, Tissue(np.ones((20, 10), bool)), tmp_path / "w"
    )
    run_slide(run)
    import tifffile

    with tifffile.TiffFile(path) as file:
        assert pyramid.bytes_touched == sum(file.series[0].levels[2].keyframe.databytecounts)


def test_ground_without_tissue_is_neither_read_nor_refined(tmp_path: Path) -> None:
    inferer = IterativeInferer(64, 4, coarse_scale=2, budget=Budget.everywhere())
    picture = spots(2900, 700)
    mask = np.ones((29, 7), dtype=bool)
    mask[:15] = False  # up to column 1,500, in the middle of the first tile
    mask[24:] = False  # from column 2,400
    path = write_tiff(tmp_path / "a.tif", picture)
    run = SlideRun(open_slide(path), network(1), inferer.settings, lambda x: x / 255, Tissue(mask), tmp_path / "w")
    result = run_slide(run)
    assert all(w.corner[0] + w.size[0] > 1500 and w.corner[0] < 2400 for w in result.windows)
    assert len(result.windows) == result.windows_total
    for empty in (slice(0, 1436), slice(2464, 2900)):  # but for windows of 64 that reach into it
        assert not (result.mosaic.compose((empty, slice(0, 700))) > -10).any()
    assert run.pyramid.bytes_touched < run.pyramid.file_bytes


def test_a_second_run_computes_only_what_is_missing(tmp_path: Path) -> None:
    inferer = IterativeInferer(64, 4, coarse_scale=2, budget=Budget(windows=600))
    net, calls = network(1), []

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        # Networks are also shown zeros and fake tensors, to learn what they answer; that is no work done twice.
        if type(inputs[0]) is Tensor and inputs[0].any():
            calls.append(len(inputs[0]))

    for stage in (net.coarse, *net.refine):
        stage.register_forward_hook(count)
    path, tissue = write_tiff(tmp_path / "a.tif", spots(2900, 700)), Tissue(np.ones((20, 10), bool))

    def run(folder: Path, stop_after: int | None = None) -> IterativeResult:
        def progress(stage: str, done: int, total: int) -> None:
            if stop_after is not None and len(calls) > stop_after:
                raise KeyboardInterrupt

        return run_slide(
            SlideRun(open_slide(path), net, inferer.settings, lambda x: x / 255, tissue, folder, progress=progress)
        )

    run(tmp_path / "first")  # what a network takes is found once
    calls.clear()
    plain = run(tmp_path / "plain")
    windows, passes = sum(calls), len(calls)
    calls.clear()
    for stop in (1, 20, None):
        if stop is None:
            resumed = run(tmp_path / "cut")
        else:
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path / "cut", stop)
    assert windows == 602 and (sum(calls), len(calls)) == (windows, passes)
    assert torch.equal(resumed.mosaic.compose(), plain.mosaic.compose())
    assert resumed.windows == plain.windows


def test_scores_from_planes_are_those_of_the_whole_map_to_the_last_bit() -> None:
    values = torch.rand(1, 2, 203, 117)
    planes = ComputedPlanes((1, 2, 203, 117), lambda region: values[(slice(None), slice(None), *region)])
    windows = window_grid((406, 234), 48, 0.4)
    a, b = score_windows(None, values, windows), score_windows(None, planes, windows)
    assert np.array_equal(a.score, b.score)
    a, b = (
        score_windows(values[:, :1], None, windows),
        score_windows(
            ComputedPlanes((1, 1, 203, 117), lambda region: values[(slice(None), slice(0, 1), *region)]), None, windows
        ),
    )
    assert np.array_equal(a.score, b.score) and np.array_equal(a.cells, b.cells)


def test_networks_of_a_slide_run_in_the_precision_that_is_asked_for(tmp_path: Path) -> None:
    inferer = IterativeInferer(64, 4, coarse_scale=2, score="gain", budget=Budget(windows=3), autocast="bfloat16")
    _, _, run = both(tmp_path, inferer, 1, (700, 600))
    seen: dict[str, set[torch.dtype]] = {"coarse": set(), "refine": set()}
    for name, found in seen.items():
        for layer in getattr(run.network, name).modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(lambda _, inputs, out, found=found: found.add(out.dtype))
    (tmp_path / "again").mkdir()
    again = run_slide(replace(run, folder=tmp_path / "again"))
    assert seen["coarse"] == seen["refine"] == {torch.bfloat16}
    assert again.mosaic.compose().dtype == torch.float32
