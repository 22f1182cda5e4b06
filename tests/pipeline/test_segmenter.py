"""The segmenter on images whose answer is known: geometry, modes, figures, and bad images among good ones."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from small_bundle import disc
from torch.utils.flop_counter import FlopCounterMode

from monai_dis.bundle import load_bundle
from monai_dis.errors import BudgetError, DataError, DisError, ImageError, OutputError


def segmenter(bundle: Path, images: list[Path] | Path, output: Path, **overrides: Any) -> Any:
    files = [str(path) for path in images] if isinstance(images, list) else [str(images)]
    given = {"image_files": files, "output_dir": str(output), "device": "cpu", **overrides}
    return load_bundle(bundle, overrides=given).part("evaluator")


def entry_of(bundle: Path, image: Path, output: Path, **overrides: Any) -> dict[str, Any]:
    entry: dict[str, Any] = segmenter(bundle, image, output, **overrides).run()["images"][0]
    return entry


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("mode", ["dis", "sliding-window", "coarse"])
def test_a_bright_disc_is_found_where_it_is(mode: str, tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    entry = entry_of(tiny_bundle, photo, tmp_path / "out", mode=mode)
    found, truth = pixels(entry["output"]), pixels(photo)[..., 0] > 125
    assert found.shape == truth.shape == (80, 96)
    assert set(np.unique(found)) == {0, 1}
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    # one eighth of 64 pixels sees the disc with 3 pixels across; full resolution loses only what resizing to 64 x 64 blurs
    assert dice > (0.98 if mode == "sliding-window" else 0.8)


def test_refining_improves_on_the_coarse_answer_and_everywhere_is_the_sliding_window(
    tiny_bundle: Path, photo: Path, tmp_path: Path
) -> None:
    truth = pixels(photo)[..., 0] > 125
    found = {
        name: pixels(entry_of(tiny_bundle, photo, tmp_path / name, **overrides)["output"]) > 0
        for name, overrides in {
            "coarse": {"mode": "coarse"},
            "four": {"windows": 4},
            "everywhere": {"coverage": 1.0},
            "sliding": {"mode": "sliding-window"},
        }.items()
    }
    wrong = {name: int((answer != truth).sum()) for name, answer in found.items()}
    assert wrong["coarse"] > wrong["four"] >= wrong["everywhere"]
    assert np.array_equal(found["everywhere"], found["sliding"])


def test_the_report_lists_objects_and_how_certain_they_are(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    """Certainty costs logits on the file's grid and comes with --uncertainty; it changes no label."""
    plain = segmenter(tiny_bundle, photo, tmp_path / "plain").run()["images"][0]
    (found,) = plain["objects"]
    assert plain["object_counts"] == {found["name"]: 1} and "certainty" not in found
    assert found["unit"] == "pixels" and found["quadrant"] in plain["quadrants"][found["name"]]
    table = (tmp_path / "plain" / "report-objects.csv").read_text().splitlines()
    assert len(table) == 2 and table[1].startswith(f"{photo.name},1,{found['name']},{found['size']},pixels,")
    assert "1 object<" in (tmp_path / "plain" / "report.html").read_text()
    sure = segmenter(tiny_bundle, photo, tmp_path / "sure", **{"evaluator::options": {"uncertainty": True}}).run()[
        "images"
    ][0]
    assert 0 < sure["objects"][0]["certainty"] < 1
    assert Path(sure["output"]).read_bytes() == Path(plain["output"]).read_bytes()


def test_the_report_says_what_was_done(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    with FlopCounterMode(display=False) as counter:
        report = segmenter(tiny_bundle, photo, tmp_path / "out").run()
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    entry = report["images"][0]
    assert entry["input"] == str(photo)
    assert entry["mode"] == "dis"
    assert (entry["windows_refined"], entry["windows_total"]) == (4, 16)
    # a 1 x 1 convolution of 3 channels: 3 multiply-accumulates a pixel
    assert entry["operations"] == 3 * (8 * 8 + 4 * 16 * 16) == counter.get_total_flops() // 2
    assert entry["operations_full_pass"] == 3 * 64 * 64
    assert entry["fraction_of_full_pass"] == pytest.approx((8 * 8 + 4 * 16 * 16) / 64**2)
    assert entry["operations_sliding_window"] == 3 * 7 * 7 * 16 * 16
    assert entry["sizes"] == {"image": [96, 80], "prepared": [64, 64]}
    assert entry["peak_memory_bytes"] > 10 * 2**20
    assert "uncertain_left_mm" not in entry["statistics"]
    assert entry["seconds"]["total"] == pytest.approx(
        sum(v for k, v in entry["seconds"].items() if k != "total"), abs=1e-4
    )
    assert {"read", "prepare", "coarse", "score", "select", "gather", "refine", "merge", "finish", "write"} <= set(
        entry["seconds"]
    )
    assert (tmp_path / "out" / "report.html").is_file()
    assert report["summary"]["done"] == 1


def test_a_sliding_window_is_counted_as_it_runs(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    with FlopCounterMode(display=False) as counter:
        entry = entry_of(tiny_bundle, photo, tmp_path / "out", mode="sliding-window")
    assert entry["operations"] == counter.get_total_flops() // 2 == 3 * 49 * 256
    assert entry["fraction_of_sliding_window"] == 1.0
    assert entry["windows_refined"] == entry["windows_total"] == 49


def test_the_coarse_mode_refines_nothing(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    entry = entry_of(tiny_bundle, photo, tmp_path / "out", mode="coarse")
    assert entry["windows_refined"] == 0
    assert entry["operations"] == 3 * 8 * 8


def test_windows_on_the_overlay_lie_where_the_disc_has_its_border(
    tiny_bundle: Path, photo: Path, tmp_path: Path
) -> None:
    prediction = segmenter(tiny_bundle, photo, tmp_path / "out").model.predictor(photo)
    assert len(prediction.boxes) == 4
    for box in prediction.boxes:
        (left, top), (right, bottom) = box.low, box.high
        # 16 of 64 pixels are a quarter of the picture of 96 x 80
        assert (right - left, bottom - top) == pytest.approx((24, 20))
        near, far = _distances((left, top, right, bottom), (60, 30))
        assert near <= 20 <= far


def _distances(box: tuple[float, float, float, float], centre: tuple[float, float]) -> tuple[float, float]:
    left, top, right, bottom = box
    inside = (np.clip(centre[0], left, right), np.clip(centre[1], top, bottom))
    corners = [(x, y) for x in (left, right) for y in (top, bottom)]
    near = float(np.hypot(inside[0] - centre[0], inside[1] - centre[1]))
    return near, max(float(np.hypot(x - centre[0], y - centre[1])) for x, y in corners)


def test_a_conditioned_network_slides_with_our_inferer(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    config = tiny_bundle / "configs" / "inference.yaml"
    refine = "  refine: {_target_: torch.nn.Conv2d, in_channels: 3, out_channels: 1, kernel_size: 1}"
    conditioned = (
        "  refine:\n    _target_: monai_dis.networks.ResidualRefiner\n"
        "    backbone: {_target_: torch.nn.Conv2d, in_channels: 4, out_channels: 1, kernel_size: 1}\n    channels: 1\n"
        "  conditioning: logits"
    )
    text = config.read_text().replace(refine, conditioned)
    config.write_text(
        text.replace(
            "network: $dis_bundle.load_weights(@network_def, @bundle_root + '/models/model.pt')",
            "network: '@network_def'",
        )
    )
    torch.manual_seed(0)
    entry = entry_of(tiny_bundle, photo, tmp_path / "out", mode="sliding-window")
    assert entry["windows_refined"] == entry["windows_total"] == 49


def test_a_bad_image_does_not_stop_the_others(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    bad, gone = tmp_path / "bad.png", tmp_path / "gone.png"
    bad.write_bytes(photo.read_bytes()[:200])
    other = tmp_path / "other.png"
    other.write_bytes(photo.read_bytes())
    with pytest.raises(ImageError, match=r"(?s)2 of 4 images could not be segmented.*bad\.png.*gone\.png"):
        segmenter(tiny_bundle, [photo, bad, gone, other], tmp_path / "out").run()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [Path(entry["input"]).name for entry in report["images"]] == ["disc.png", "bad.png", "other.png", "gone.png"]
    assert ["error" in entry for entry in report["images"]] == [False, True, False, True]
    assert report["summary"] | {"done": 2, "failed": 2} == report["summary"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*_seg.png")) == ["disc_seg.png", "other_seg.png"]


def test_images_of_one_name_do_not_overwrite_each_other(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin" / "disc.png"
    twin.parent.mkdir()
    Image.fromarray(np.zeros((30, 40, 3), dtype=np.uint8)).save(twin)
    report = segmenter(tiny_bundle, [photo, twin], tmp_path / "out").run()
    assert [pixels(entry["output"]).shape for entry in report["images"]] == [(80, 96), (30, 40)]


def test_one_file_under_two_paths_is_one_image(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    again = photo.parent / "nothing" / ".." / photo.name
    (photo.parent / "nothing").mkdir()
    report = segmenter(tiny_bundle, [photo, again], tmp_path / "out").run()
    assert len(report["images"]) == 1


def test_a_folder_stands_for_its_images(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("b.png", "a.PNG", "notes.txt", ".hidden.png"):
        (folder / name).write_bytes(photo.read_bytes())
    report = segmenter(tiny_bundle, folder, tmp_path / "out").run()
    assert [Path(entry["input"]).name for entry in report["images"]] == ["a.PNG", "b.png"]


@pytest.mark.parametrize(
    ("overrides", "error", "sentence"),
    [
        pytest.param({"mode": "fast"}, DisError, "mode must be one of dis, sliding-window, coarse", id="mode"),
        pytest.param(
            {"mode": "coarse", "windows": 3}, BudgetError, "no meaning for the mode coarse", id="budget-without-windows"
        ),
        pytest.param(
            {"operations": -0.1}, BudgetError, "operations must be a finite number of 0 or more", id="negative-budget"
        ),
        pytest.param({"overlap": 1.5}, DisError, "overlap must be 0 or more and below 1", id="overlap"),
        pytest.param({"device": "abacus"}, DisError, "the device 'abacus' is unknown", id="device"),
        pytest.param({"image_files": []}, DataError, "nothing to segment", id="no-images"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(
    overrides: dict[str, Any], error: type[Exception], sentence: str, tiny_bundle: Path, photo: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=sentence):
        segmenter(tiny_bundle, photo, tmp_path / "out", **overrides).run()


def test_a_window_larger_than_the_image_is_padded(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    entry = entry_of(tiny_bundle, photo, tmp_path / "out", **{"inferer::roi_size": [100, 100]})
    assert (entry["windows_refined"], entry["windows_total"]) == (1, 1)
    assert pixels(entry["output"]).sum() > 1000


def test_a_file_where_the_folder_should_be(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match="a file of that name is in the way"):
        segmenter(tiny_bundle, photo, tmp_path / "out").run()


def test_a_full_disk_stops_the_run_and_leaves_whole_files(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    ready = segmenter(tiny_bundle, photo, tmp_path / "out")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Files larger than this cannot be written, as on a full disk; Python ignores the signal and raises OSError.
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with pytest.raises(
            OutputError,
            match=r"disc_seg\.png cannot be written|a result of disc\.png cannot be written|manifest\.jsonl cannot be written",
        ):
            ready.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "out").glob(".*"))
    for path in (tmp_path / "out").glob("*.png"):
        pixels(path)


def volume_bundle(bundle: Path) -> Path:
    """The bundle for volumes of one channel, softmax over background, middle and bright."""
    config = bundle / "configs" / "inference.yaml"
    text = config.read_text()
    for old, new in {
        "torch.nn.Conv2d, in_channels: 3, out_channels: 1": "torch.nn.Conv3d, in_channels: 1, out_channels: 3",
        "{_target_: Resized, keys: image, spatial_size: [64, 64], mode: bilinear}": (
            "{_target_: Orientationd, keys: image, axcodes: RAS, labels: null}"
        ),
        "roi_size: [16, 16]": "roi_size: [8, 8, 8]",
        "levels: [8, 1]": "levels: [2, 1]",
        "keys: pred, sigmoid: true": "keys: pred, softmax: true",
        "threshold: 0.5": "argmax: true",
    }.items():
        assert old in text
        text = text.replace(old, new)
    config.write_text(text)
    # classes by brightness b in [0, 1]: 0, 40 b - 10, 80 b - 40: borders at 1/4 and 3/4
    weight, bias = torch.tensor([0.0, 40.0, 80.0]).reshape(3, 1, 1, 1, 1), torch.tensor([0.0, -10.0, -40.0])
    torch.save(
        {f"{s}.{n}": v for s in ("coarse", "refine") for n, v in (("weight", weight), ("bias", bias))},
        bundle / "models" / "model.pt",
    )
    return bundle


@pytest.mark.parametrize("flip", [False, True])
def test_a_volume_keeps_its_geometry_and_its_classes(flip: bool, tiny_bundle: Path, tmp_path: Path) -> None:
    image = np.zeros((30, 24, 21), dtype=np.float32)
    image[3:13, 4:12, 5:14] = 128
    image[6:10, 6:10, 8:12] = 255
    affine = (
        np.array([[0, 0, -2.5, 40], [1.5, 0, 0, -10], [0, -1, 0, 7], [0, 0, 0, 1.0]])
        if flip
        else np.diag([1, 1.5, 2.5, 1.0])
    )
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(image, affine), path)
    entry = entry_of(volume_bundle(tiny_bundle), path, tmp_path / "out", windows=1000)
    assert Path(entry["output"]).name == "scan_seg.nii.gz"
    answer = nibabel.load(entry["output"])
    assert np.allclose(answer.affine, affine, atol=1e-4)
    assert np.array_equal(np.asarray(answer.dataobj).astype(int), np.digitize(image, [64, 192]))
    assert Path(entry["overlay"]).is_file()
    statistics, volume_mm3 = entry["statistics"], image.size * abs(np.linalg.det(affine[:3, :3]))
    assert statistics["uncertain_left_mm"] == pytest.approx([statistics["uncertain_left"][0] * volume_mm3], rel=1e-5)


def test_a_volume_for_a_network_of_pictures_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 8), dtype=np.float32), np.eye(4)), path)
    with pytest.raises(ImageError, match=r"scan\.nii\.gz has 3 spatial axes"):
        segmenter(tiny_bundle, path, tmp_path / "out").run()


def overlapping_bundle(bundle: Path) -> Path:
    """The bundle with two classes that overlap: bright, from 1/4 on, and very bright, from 3/4 on."""
    config = bundle / "configs" / "inference.yaml"
    text = config.read_text()
    for old, new, times in (
        ("in_channels: 3, out_channels: 1,", "in_channels: 3, out_channels: 2,", 2),
        ("  roi_size: [16, 16]\n", "  roi_size: [16, 16]\n  activation: sigmoid\n", 1),
        ("label_names: {1: bright}", "label_names: {1: Very <bright>!, 2: bright}", 1),
    ):
        assert text.count(old) == times
        text = text.replace(old, new)
    config.write_text(text)
    weight, bias = torch.full((2, 3, 1, 1), 40.0 / 3), torch.tensor([-30.0, -10.0])
    torch.save(
        {f"{s}.{n}": v for s in ("coarse", "refine") for n, v in (("weight", weight), ("bias", bias))},
        bundle / "models" / "model.pt",
    )
    return bundle


@pytest.mark.parametrize("mode", ["dis", "sliding-window", "coarse"])
@pytest.mark.parametrize("overlapping", [False, True])
def test_labels_of_the_inferer_are_those_of_its_logits(
    mode: str, overlapping: bool, tiny_bundle: Path, tmp_path: Path
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    Image.fromarray(picture).save(tmp_path / "blocks.png")
    bundle = overlapping_bundle(tiny_bundle) if overlapping else tiny_bundle
    want = entry_of(bundle, tmp_path / "blocks.png", tmp_path / "logits", mode=mode)
    config = bundle / "configs" / "inference.yaml"
    text = config.read_text().replace("  roi_size: [16, 16]\n", "  roi_size: [16, 16]\n  output: labels\n")
    text = text.replace("nearest_interp: false", "nearest_interp: true")
    for step in ("Activationsd", "AsDiscreted"):
        text = "\n".join(line for line in text.split("\n") if step not in line)
    config.write_text(text)

    made = entry_of(bundle, tmp_path / "blocks.png", tmp_path / "labels", mode=mode)

    assert np.array_equal(pixels(made["output"]), pixels(want["output"]))
    assert len(np.unique(pixels(made["output"]))) == 2 + overlapping
    assert made.get("masks", {}).keys() == want.get("masks", {}).keys()
    for name, file in made.get("masks", {}).items():
        assert np.array_equal(pixels(file), pixels(want["masks"][name]))


def test_overlapping_classes_have_a_mask_each(tiny_bundle: Path, tmp_path: Path) -> None:
    picture = np.full((64, 64, 3), 10, dtype=np.uint8)
    picture[8:40, 8:40] = 128
    picture[16:32, 16:32] = 250
    Image.fromarray(picture).save(tmp_path / "steps.png")
    bundle = overlapping_bundle(tiny_bundle)

    entry = entry_of(bundle, tmp_path / "steps.png", tmp_path / "out", windows=16)

    very, bright = (picture[..., 0] >= level for level in (250, 128))
    assert np.array_equal(pixels(entry["output"]), np.where(very, 1, np.where(bright, 2, 0)))
    names = {name: Path(file).name for name, file in entry["masks"].items()}
    assert names == {"Very <bright>!": "steps_seg_1-very-bright.png", "bright": "steps_seg_2-bright.png"}
    assert np.array_equal(pixels(entry["masks"]["Very <bright>!"]), very)
    assert np.array_equal(pixels(entry["masks"]["bright"]), bright)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "mask of Very &lt;bright&gt;!" in page and "steps_seg_2-bright.png" in page

    kept = entry_of(bundle, tmp_path / "steps.png", tmp_path / "out", windows=16)
    assert kept["kept"]
    Path(entry["masks"]["bright"]).unlink()
    again = entry_of(bundle, tmp_path / "steps.png", tmp_path / "out", windows=16)
    assert "kept" not in again and Path(entry["masks"]["bright"]).is_file()


def test_images_in_step_give_what_each_gives_alone(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    """While one image is in the network the next is read and the last is written: nothing is mixed up."""
    files = []
    for number, column in enumerate((20, 48, 70)):
        files.append(tmp_path / f"photo{number}.png")
        Image.fromarray(disc(centre=(column, 30))).save(files[-1])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")

    with pytest.raises(ImageError, match="1 of 4 images"):
        segmenter(tiny_bundle, [files[0], broken, *files[1:]], tmp_path / "a").run()

    images = json.loads((tmp_path / "a" / "report.json").read_text())["images"]
    assert ["error" in entry for entry in images] == [False, True, False, False]
    for file in files:
        entry = entry_of(tiny_bundle, file, tmp_path / "b")
        for name in ("seg", "overlay"):
            assert (tmp_path / "a" / f"{file.stem}_{name}.png").read_bytes() == (
                tmp_path / "b" / f"{file.stem}_{name}.png"
            ).read_bytes()
        assert entry["peak_memory_bytes"] > 0 and entry["seconds"]["total"] > 0


def test_names_that_are_no_text_can_be_logged(
    tiny_bundle: Path, photo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = (tmp_path / os.fsdecode(name) for name in (b"caf\xe9.png", b"cut\xe9.png"))
    good.write_bytes(photo.read_bytes())
    bad.write_bytes(b"no picture")
    with caplog.at_level("INFO", logger="monai_dis"), pytest.raises(DisError) as error:
        segmenter(tiny_bundle, [good, bad], tmp_path / "out").run()
    assert "cut\\udce9.png" in str(error.value)
    assert sum("caf\\udce9.png" in message for message in caplog.messages) == 1
    for message in caplog.messages:
        message.encode()
