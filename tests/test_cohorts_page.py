"""What docs/cohorts.md shows runs: the class by itself, and through Ray with the same files."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from small_bundle import disc, write_tiny_bundle

from monai_dis.pipeline import StudySegmenter

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "cohorts.md"


def test_the_class_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)[0]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(PAGE), "exec"), {})
    assert capsys.readouterr().out.split()[:2] == ["done", str(tmp_path / "out" / "chase_db1_02L_seg.png")]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="no network of its own can be made")
def test_ray_gives_the_same(tmp_path: Path) -> None:
    bundle, studies = write_tiny_bundle(tmp_path), [tmp_path / f"photo{number}.png" for number in range(4)]
    for number, file in enumerate(studies):
        Image.fromarray(disc(centre=(20.0 + 12 * number, 30.0))).save(file)
    (tmp_path / "ray").mkdir()
    script = Path(__file__).parent / "support" / "ray_example.py"
    # Ray listens on every address: in a network of its own there is only this machine's.
    command = ["unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", sys.executable, script, PAGE, bundle]
    environment = {
        **os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT),
        "RAY_TMPDIR": "/tmp", "HOME": str(tmp_path),
    }  # fmt: skip
    done = subprocess.run(
        list(map(str, [*command, tmp_path / "ray", *studies])),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    records = json.loads((tmp_path / "ray" / "records.json").read_text())
    assert sorted(record["study"] for record in records) == [file.name for file in studies]
    alone = StudySegmenter(str(bundle))
    for file in studies:
        assert alone(file, tmp_path / "alone").status == "done"
        for name in (f"{file.stem}_seg.png", f"{file.stem}_overlay.png"):
            assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
