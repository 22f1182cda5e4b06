"""The command line in one process: help, good runs, and a sentence for each bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from monai_dis import __version__
from monai_dis.cli import main


def call(*arguments: object) -> int:
    """Exit status of ``monai-dis`` with these arguments."""
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    code = exit_.value.code
    return code if isinstance(code, int) else 0 if code is None else 1


COMMANDS = ("segment", "evaluate", "train", "reproduce", "bundles")


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=["program", *COMMANDS])
def test_help_is_there_for_every_command(
    command: tuple[str, ...], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*command, option) == 0
    text = capsys.readouterr().out
    for word in (
        COMMANDS if not command else {"segment": ("--bundle", "--mode", "--operations", "Example")}.get(command[0], ())
    ):
        assert word in text


@pytest.mark.parametrize(
    "code",
    [
        "import monai_dis",
        "import monai_dis.cli.app",
        "import monai_dis.bundle",
        "import monai_dis.engines",
        "from monai_dis.runtimes import RUNTIMES",
    ],
)
def test_the_light_parts_do_not_import_torch(code: str) -> None:
    check = f"{code}; import sys; sys.exit(any(name in sys.modules for name in ('torch', 'monai', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_help_does_not_import_torch() -> None:
    call_help = "try:\n    main(['segment', '--help'])\nexcept SystemExit:\n    sys.exit('torch' in sys.modules)"
    code = f"import sys\nfrom monai_dis.cli import main\n{call_help}"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out.strip() == __version__


def test_the_bundles_are_listed(
    capsys: pytest.CaptureFixture[str], tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monai_dis.bundle import locate

    monkeypatch.setattr(locate, "_SHELVES", (tiny_bundle.parent,))
    assert call("bundles") == 0
    assert "tiny_bundle" in capsys.readouterr().out


def test_segment_writes_segmentation_overlay_and_report(
    tiny_bundle: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    assert (
        call(
            "segment",
            photo,
            "--bundle",
            tiny_bundle,
            "--output",
            out,
            "--windows",
            3,
            "--overlap",
            0.5,
            "--device",
            "cpu",
        )
        == 0
    )
    assert sorted(path.name for path in out.iterdir()) == [
        "disc_overlay.png",
        "disc_seg.png",
        "manifest.jsonl",
        "report-objects.csv",
        "report.html",
        "report.json",
    ]
    entry = json.loads((out / "report.json").read_text())["images"][0]
    assert (entry["windows_refined"], entry["windows_total"], entry["mode"]) == (3, 49, "dis")
    printed = capsys.readouterr()
    assert "3 of 49 windows" in printed.out
    assert "warn" not in (printed.out + printed.err).lower()


def test_settings_of_the_config_can_be_replaced(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    assert (
        call(
            "segment",
            photo,
            "-b",
            tiny_bundle,
            "-o",
            tmp_path / "out",
            "--set",
            "inferer::roi_size=[32, 32]",
            "--set",
            "windows=1",
        )
        == 0
    )
    entry = json.loads((tmp_path / "out" / "report.json").read_text())["images"][0]
    assert (entry["windows_refined"], entry["windows_total"]) == (1, 4)


def missing(folder: Path) -> Path:
    return folder / "nowhere.png"


def truncated_png(folder: Path) -> Path:
    path = folder / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    return path


def truncated_nifti(folder: Path) -> Path:
    path = folder / "cut.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).random((16, 16, 16)).astype(np.float32), np.eye(4)), path)
    path.write_bytes(path.read_bytes()[:2000])
    return path


def text_named_png(folder: Path) -> Path:
    path = folder / "text.png"
    path.write_text("this is no picture")
    return path


def empty_file(folder: Path) -> Path:
    path = folder / "empty.png"
    path.touch()
    return path


def unknown_format(folder: Path) -> Path:
    path = folder / "notes.txt"
    path.write_text("not an image")
    return path


def empty_folder(folder: Path) -> Path:
    path = folder / "nothing_here"
    path.mkdir()
    return path


def one_channel(folder: Path) -> Path:
    path = folder / "grey.png"
    Image.fromarray(np.zeros((64, 64), dtype=np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    "make",
    [missing, truncated_png, truncated_nifti, text_named_png, empty_file, unknown_format, empty_folder, one_channel],
)
def test_a_bad_image_gets_one_sentence_and_no_traceback(
    make: Callable[[Path], Path], tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path)
    assert call("segment", path, "--bundle", tiny_bundle, "--output", tmp_path / "out") == 1
    error = capfd.readouterr().err.strip()
    assert error.startswith("Error: ")
    assert path.name in error
    assert error.count("\n") == 0
    assert "Traceback" not in error
    assert not list((tmp_path / "out").glob("*_seg*"))


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        pytest.param(("--bundle", "nonsense"), 1, "there is no bundle 'nonsense'", id="unknown-bundle"),
        pytest.param(("--bundle", "{folder}"), 1, "is not a bundle", id="folder-without-bundle"),
        pytest.param(
            ("--bundle", "{bundle}", "--output", "{photo}"),
            1,
            "a file of that name is in the way",
            id="output-is-a-file",
        ),
        pytest.param(("--bundle", "{bundle}", "--output", "{photo}/out"), 1, "output folder", id="output-below-a-file"),
        pytest.param(("--bundle", "{bundle}", "--mode", "fast"), 2, "sliding-window", id="unknown-mode"),
        pytest.param(("--bundle", "{bundle}", "--coverage", "1.5"), 2, "coverage", id="coverage-above-1"),
        pytest.param(("--bundle", "{bundle}", "--windows", "-1"), 2, "windows", id="negative-windows"),
        pytest.param(
            ("--bundle", "{bundle}", "--mode", "coarse", "--windows", "2"),
            1,
            "no meaning for the mode coarse",
            id="budget-for-coarse",
        ),
        pytest.param(("--bundle", "{bundle}", "--device", "abacus"), 1, "unknown", id="unknown-device"),
        pytest.param(("--bundle", "{bundle}", "--runtime", "abacus"), 1, "use one of torch,", id="unknown-runtime"),
        pytest.param(
            ("--bundle", "{bundle}", "--set", "inferrer::overlap=0.1"), 1, "no entry 'inferrer'", id="misspelt-setting"
        ),
        pytest.param(("--bundle", "{bundle}", "--set", "overlap"), 2, "KEY=VALUE", id="setting-without-value"),
        pytest.param((), 2, "--bundle", id="no-bundle"),
    ],
)
def test_bad_options_get_a_sentence(
    arguments: tuple[str, ...],
    status: int,
    sentence: str,
    tiny_bundle: Path,
    photo: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    filled = [part.format(bundle=tiny_bundle, photo=photo, folder=tmp_path) for part in arguments]
    output = [] if "--output" in filled else ["--output", tmp_path / "out"]
    assert call("segment", photo, *filled, *output) == status
    error = capfd.readouterr().err
    assert sentence.lower() in " ".join(error.replace("│", " ").lower().split())
    assert "Traceback" not in error


def test_a_gpu_that_is_not_there_is_named(
    tiny_bundle: Path, photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert call("segment", photo, "-b", tiny_bundle, "-o", tmp_path / "out", "--device", "cuda") == 1
    assert "no GPU" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_data_folder_that_is_not_there_is_named(
    command: str, tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(command, "--bundle", tiny_bundle, "--data", tmp_path / "nowhere", "--output", tmp_path / "out") == 1
    assert "nowhere does not exist" in capfd.readouterr().err


def test_evaluate_measures_and_compares(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for part in ("images", "masks"):
        (data / part).mkdir(parents=True)
    Image.open(photo).save(data / "images" / "disc.png")
    Image.fromarray((np.asarray(Image.open(photo))[..., 0] > 128).astype(np.uint8)).save(data / "masks" / "disc.png")
    common = ("evaluate", "--bundle", tiny_bundle, "--data", data, "--split", "all", "--device", "cpu")

    assert call(*common, "--output", tmp_path / "one") == 0
    (arm,) = json.loads((tmp_path / "one" / "metrics.json").read_text())["arms"]
    assert arm["name"] == "dis" and arm["summary"]["dice"]["mean"] > 0.9

    compared = ("--budgets", "0.1,auto", "--scores", "entropy, oracle", "--output", tmp_path / "many")
    assert call(*common, *compared) == 0
    arms = json.loads((tmp_path / "many" / "metrics.json").read_text())["arms"]
    assert [arm["name"] for arm in arms] == ["coarse", "entropy 0.1", "entropy auto", "oracle 0.1", "oracle auto"]


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        ("segment", ("photo.png", "--operations", "much"), "neither a share such as 0.1 nor"),
        ("segment", ("photo.png", "--operations", "-0.1"), "neither a share such as 0.1 nor"),
        ("evaluate", ("--data", "data", "--budgets", "0.1,much"), "neither a share such as 0.1 nor"),
        ("evaluate", ("--data", "data", "--budgets", ","), "is not a list of shares"),
    ],
)
def test_a_share_is_a_number_or_auto(
    command: str, options: tuple[str, ...], words: str, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(command, "--bundle", tiny_bundle, "--output", "out", *options) == 2
    assert words in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_segment_spends_nothing_on_what_is_certain(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    assert call("segment", photo, "-b", tiny_bundle, "-o", tmp_path / "out", "--operations", "auto") == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert 0 < report["images"][0]["windows_refined"] < report["images"][0]["windows_total"]


def test_evaluate_refuses_a_score_that_it_does_not_know(
    tiny_bundle: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    for part in ("images", "masks"):
        (data / part).mkdir(parents=True)
        Image.open(photo).convert("L").point(lambda v: 255 * (v > 128)).save(data / part / "disc.png")
    options = ("--split", "all", "--budgets", "0.1", "--scores", "best", "--output", tmp_path / "out")

    assert call("evaluate", "--bundle", tiny_bundle, "--data", data, *options) == 1
    assert "scores to compare are entropy" in capsys.readouterr().err.lower()
