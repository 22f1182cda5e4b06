"""``monai-dis segment --bundle FOLDER`` with bundles of MONAI's model zoo, which were never made for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from command_line import call
from monai.bundle import ConfigParser
from monai.networks.nets import UNet
from PIL import Image
from zoo_bundle import NETWORK, inference, write_bundle

from monai_dis.bundle import load_bundle
from monai_dis.bundle.foreign import foreign_parts, is_foreign
from monai_dis.errors import BundleError
from monai_dis.inferers import DropInInferer


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).normal(size=(40, 30, 24)).astype(np.float32)
    values[10:30, 8:22, 6:18] += 4
    path = tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.diag([-1.2, 1.5, 2.0, 1.0])), path)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 255, (150, 120, 3), dtype=np.uint8)
    path = tmp_path / "slide.png"
    Image.fromarray(values).save(path)
    return path


def expected(bundle: Path, file: Path, dims: int, channels: int) -> np.ndarray:
    """What MONAI makes of the image with the bundle's own parts."""
    parser = ConfigParser()
    parser.read_config(str(next((bundle / "configs").glob("inference.*"))))
    parser["postprocessing"]["transforms"].pop()  # SaveImaged
    data = parser.get_parsed_content("preprocessing")({"image": str(file)})
    network = UNet(dims, channels, 2, **NETWORK).eval()
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    network.load_state_dict(state.get("model", state))
    with torch.no_grad():
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], network)[0]
    return np.asarray(parser.get_parsed_content("postprocessing")(data)["pred"])[0]


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_volume(tmp_path: Path, volume: Path, suffix: str) -> None:
    bundle = write_bundle(tmp_path / "spleen", 3, 1, suffix=suffix)
    reports = {}
    for mode in ("dis", "sliding-window", "coarse"):
        out = tmp_path / mode
        assert call("segment", volume, "--bundle", bundle, "--output", out, "--mode", mode, "--device", "cpu") == 0
        reports[mode] = json.loads((out / "report.json").read_text())["images"][0]

    result = nibabel.load(tmp_path / "sliding-window" / "ct_seg.nii.gz")
    want = expected(bundle, volume, 3, 1)
    labels = np.asarray(result.dataobj)  # type: ignore[attr-defined]
    assert labels.shape == want.shape and 0 < want.mean() < 1
    assert (labels == want).mean() > 0.999
    np.testing.assert_allclose(result.affine, nibabel.load(volume).affine)  # type: ignore[attr-defined]
    assert reports["dis"]["fraction_of_sliding_window"] <= 0.3 < reports["sliding-window"]["fraction_of_sliding_window"]
    assert reports["coarse"]["windows_refined"] == 0 < reports["dis"]["windows_refined"]
    assert not (bundle / "eval").exists()


def test_a_picture(tmp_path: Path, picture: Path) -> None:
    bundle = write_bundle(tmp_path / "nuclei", 2, 3)
    torch.save(torch.load(bundle / "models/model.pt", weights_only=True)["model"], bundle / "models/model.pt")

    out = tmp_path / "out"
    assert call("segment", picture, "--bundle", bundle, "--output", out, "--mode", "sliding-window") == 0
    assert call("segment", picture, "--bundle", bundle, "--output", tmp_path / "some", "--windows", "3") == 0

    # MONAI reads pictures with rows and columns exchanged.
    want = expected(bundle, picture, 2, 3).T
    labels = np.asarray(Image.open(out / "slide_seg.png"))
    assert labels.shape == want.shape == (150, 120) and 0 < want.mean() < 1
    assert (labels == want).mean() > 0.999
    assert json.loads((tmp_path / "some" / "report.json").read_text())["images"][0]["windows_refined"] == 3


def test_the_sliding_window_becomes_a_drop_in(tmp_path: Path) -> None:
    parts = foreign_parts(load_bundle(write_bundle(tmp_path / "spleen", 3, 1)))

    settings = parts.inferer.settings
    assert isinstance(parts.inferer, DropInInferer) and parts.overlap == 0.625
    assert (settings.roi_size, settings.sw_batch_size, settings.overlap, settings.mode) == (
        [16] * 3,
        4,
        0.625,
        "gaussian",
    )
    assert [type(t).__name__ for t in parts.postprocessing.transforms] == ["Activationsd", "Invertd", "AsDiscreted"]


def test_bundles_of_ours_are_told_apart(tmp_path: Path) -> None:
    assert is_foreign(load_bundle(write_bundle(tmp_path / "spleen", 3, 1)))
    assert not is_foreign(load_bundle("fundus_vessels_dis"))


def test_weights_under_another_name_and_in_another_place(tmp_path: Path) -> None:
    config = inference(2, 1)
    config["handlers"][0] = {
        "_target_": "CheckpointLoader",
        "load_path": "$@bundle_root + '/models/best.pt'",
        "load_dict": {"net": "@network"},
    }
    bundle = write_bundle(tmp_path / "nuclei", 2, 1, config)
    state = torch.load(bundle / "models/model.pt", weights_only=True)["model"]
    torch.save({"net": {f"module.{k}": v for k, v in state.items()}}, bundle / "models/best.pt")
    (bundle / "models/model.pt").unlink()

    network = foreign_parts(load_bundle(bundle)).network

    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    assert not network.training


def changed(**changes: Any) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        file = bundle / "configs" / "inference.json"
        config = {**json.loads(file.read_text()), **changes}
        file.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))

    return change


def as_torchscript(bundle: Path) -> None:
    (bundle / "models/model.pt").rename(bundle / "models/model.ts")


def without_weights(bundle: Path) -> None:
    (bundle / "models/model.pt").unlink()


def with_code(bundle: Path) -> None:
    torch.save(UNet(2, 1, 2, **NETWORK), bundle / "models/model.pt")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed(detector={"_target_": "RetinaNetDetector"}), "is for detection"),
        (changed(inferer=None), "has no inferer"),
        (changed(inferer={"_target_": "SimpleInferer"}), "only a SlidingWindowInferer has windows"),
        (changed(inferer={"_target_": "SliceInferer", "roi_size": [8, 8]}), "with SliceInferer"),
        (changed(network_def=None, network=None), "has no network"),
        (changed(preprocessing=None), "has no preprocessing"),
        (as_torchscript, "TorchScript only"),
        (without_weights, "download the whole bundle"),
        (with_code, "hold more than tensors"),
    ],
)
def test_what_cannot_be_is_said(change: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "nuclei", 2, 1)
    change(bundle)

    with pytest.raises(BundleError, match=words):
        foreign_parts(load_bundle(bundle))


def test_the_sentence_reaches_the_command_line(
    tmp_path: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_bundle(tmp_path / "nuclei", 2, 3)
    as_torchscript(bundle)

    assert call("segment", picture, "--bundle", bundle, "--output", tmp_path / "out") == 1
    assert "TorchScript" in capsys.readouterr().err
