"""What `evaluate` and `train` say of labels and of an output folder, through the real entry point."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import call
from label_cases import LABEL_CASES
from PIL import Image
from small_recipe import write_bright_cases, write_small_recipe

from monai_dis.cli.options import read_label_policy, read_labels

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file")


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        pytest.param("evaluate", ("--labels", "63"), "does not give each number one class", id="no-class"),
        pytest.param("evaluate", ("--labels", "63=1,63=2"), "does not give each number one class", id="twice"),
        pytest.param("train", ("--labels", "liver=1"), "does not give each number one class", id="a-word"),
        pytest.param("train", ("--policy", "SLICE_GAP=warn"), "there is LABEL_GEOMETRY=reject", id="other-code"),
        pytest.param(
            "evaluate", ("--policy", "LABEL_GEOMETRY=fix"), "there is LABEL_GEOMETRY=reject", id="other-policy"
        ),
    ],
)
def test_bad_options(
    command: str, options: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(command, "-b", "skin_lesion_dis", "-d", tmp_path, "-o", tmp_path / "out", *options) == 2
    assert words in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_evaluate_maps_numbers(tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    case = next(case for case in LABEL_CASES if case.name == "picture 0 and 7")
    case.make(data)
    common = ("evaluate", "-b", tiny_bundle, "-d", data, "--split", "all", "--device", "cpu", "-o")
    assert call(*common, tmp_path / "one") == 1
    assert "case.png holds 7, and the classes are 0 to 1" in capfd.readouterr().err
    assert call(*common, tmp_path / "two", "--labels", "7=1") == 0
    results = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert results["settings"]["label_map"] == {"7": 1}
    assert results["arms"][0]["summary"]["dice"]["mean"] > 0.9


def test_options_are_read() -> None:
    assert read_label_policy(None) is None and read_labels(None) is None
    assert read_label_policy(["LABEL_GEOMETRY=warn"]) == "warn"
    assert read_labels("63=1, 126=2") == {63: 1, 126: 2}


def test_train_refuses_keeps_and_starts_anew(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = write_small_recipe(tmp_path / "bundle")
    data, other = write_bright_cases(tmp_path / "data", 7), write_bright_cases(tmp_path / "other", 7, seed=1)
    model = tmp_path / "out" / "work" / "refine.pt"  # in full precision

    def train(folder: Path, *options: str) -> tuple[int, str]:
        status = call("train", "-b", bundle, "-d", folder, "-o", tmp_path / "out", "--device", "cpu", *options)
        return status, capfd.readouterr().err

    status, said = train(data, "--set", "lerning_rate=5")
    assert status == 1 and "has no entry 'lerning_rate' to override" in said and "Traceback" not in said
    assert train(data)[0] == 0
    first = model.read_bytes()
    status, said = train(other)
    assert status == 1 and "has other data" in said and "start anew with --overwrite" in said
    assert model.read_bytes() == first
    assert train(data)[0] == 0 and model.read_bytes() == first
    assert train(other, "--overwrite")[0] == 0 and model.read_bytes() != first


def test_train_lists_unknown_numbers_before_it_begins(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bundle, data = write_small_recipe(tmp_path / "bundle"), write_bright_cases(tmp_path / "data", 7, value=63)
    assert call("train", "-b", bundle, "-d", data, "-o", tmp_path / "out", "--device", "cpu") == 1
    said = capfd.readouterr().err
    assert "63 in 7 files" in said and "--labels 63=1" in said and "Traceback" not in said
    assert call("train", "-b", bundle, "-d", data, "-o", tmp_path / "out", "--device", "cpu", "--labels", "63=1") == 0


def test_a_mask_on_the_unturned_photograph_is_refused(
    tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for part, size in (("images", (40, 24)), ("masks", (24, 40))):
        (tmp_path / "data" / part).mkdir(parents=True)
        values = np.zeros((*size, 3) if part == "images" else size, np.uint8)
        Image.fromarray(values).save(tmp_path / "data" / part / "eye.png")
    common = ("evaluate", "-b", tiny_bundle, "-d", tmp_path / "data", "--split", "all", "--device", "cpu")
    assert call(*common, "-o", tmp_path / "out") == 1
    said = capfd.readouterr().err
    assert "masks/eye.png is 40x24 pixels" in said and "EXIF" in said
