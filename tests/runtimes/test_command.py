"""`--runtime` from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import call
from PIL import Image
from runtime_cases import needs
from small_bundle import photo, tiny_bundle

__all__ = ["photo", "tiny_bundle"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "chase_db1_02L.jpg"


def segment(folder: Path, *options: object) -> tuple[np.ndarray, dict[str, object]]:
    """The program itself, in a process of its own: labels, and the report's entry."""
    done = subprocess.run(
        [sys.executable, "-m", "monai_dis", "segment", EXAMPLE, "-b", "fundus_vessels_dis", "-o", folder, "--device", "cpu",
         *map(str, options)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr and len(done.stdout.splitlines()) <= 3
    entry = json.loads((folder / "report.json").read_text())["images"][0]
    return np.asarray(Image.open(entry["output"])) > 0, entry


@pytest.mark.slow
def test_the_example_is_segmented_alike_by_every_runtime(tmp_path: Path) -> None:
    plain, entry = segment(tmp_path / "torch")
    for runtime, most in (("onnx", 1e-4), ("openvino", 1e-4), ("openvino-int8", 5e-3)):
        needs(runtime)
        labels, other = segment(tmp_path / runtime, "--runtime", runtime, "--set", f"runtime_cache={tmp_path / 'kept'}")
        assert np.mean(labels != plain) <= most
        if runtime != "openvino-int8":
            assert all(other[key] == entry[key] for key in ("windows_refined", "operations", "fraction_of_full_pass"))
        assert json.loads((tmp_path / runtime / "report.json").read_text())["settings"]["runtime"] == runtime


def test_another_runtime_does_not_keep_the_results_of_one(
    tiny_bundle: Path, photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    needs("onnx")
    for options, word in (([], "done"), (["--runtime", "onnx"], "done"), (["--runtime", "onnx"], "kept")):
        assert call("segment", photo, "-b", tiny_bundle, "-o", tmp_path / "out", "--device", "cpu", *options) == 0
        assert f"1 {word}" in capfd.readouterr().out


def test_a_missing_package_gives_a_sentence(
    tiny_bundle: Path, photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert call("segment", photo, "-b", tiny_bundle, "-o", tmp_path / "out", "--runtime", "openvino") == 1
    error = capfd.readouterr().err.strip()
    assert error.startswith("Error: ") and '"monai-dis[runtimes]"' in error and error.count("\n") == 0


def test_the_library_imports_no_runtime_that_is_not_chosen(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom monai_dis.cli import main\n"
        f"try:\n    main(['segment', {str(photo)!r}, '-b', {str(tiny_bundle)!r}, '-o', {str(tmp_path / 'out')!r}])\n"
        "except SystemExit as end:\n"
        "    sys.exit(end.code or any(n in sys.modules for n in ('openvino', 'nncf', 'onnxruntime', 'tensorrt')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL).returncode == 0
