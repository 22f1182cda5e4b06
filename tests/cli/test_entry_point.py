"""The installed program itself, and bundles found from a wheel: a few tests, since each starts Python and torch anew."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import monai_dis

CLONE = Path(monai_dis.__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_program_segments_and_says_little(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    program = Path(sysconfig.get_path("scripts")) / "monai-dis"
    done = subprocess.run(
        [program, "segment", photo, tmp_path / "gone.png", "--bundle", tiny_bundle, "--output", tmp_path / "out"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("Error: 1 of 2 images")
    assert len(done.stderr.splitlines()) == 2
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["done", "refused", "1"]


@pytest.mark.slow
def test_monai_bundle_run_does_the_same(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.yaml"]
    command += ["--image_files", str([str(photo)]), "--output_dir", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=tiny_bundle, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["summary"]["done"] == 1
    failed = subprocess.run(
        [*command[:-4], "--image_files", "['gone.png']", *command[-2:]],
        cwd=tiny_bundle,
        capture_output=True,
        check=False,
    )
    assert failed.returncode != 0


@pytest.mark.slow
@pytest.mark.skipif(not (CLONE / "setup.py").is_file(), reason="needs a clone to build a wheel from")
def test_a_wheel_carries_the_bundles_and_finds_them_by_name(tmp_path: Path) -> None:
    """Built as ``python -m build`` does: the wheel from what the source distribution holds."""
    source = tmp_path / "source"  # a build leaves folders beside what it builds
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(CLONE / name, source)
    for name in ("monai_dis", "bundles", "apps"):
        shutil.copytree(CLONE / name, source / name)
    code = f"from setuptools import build_meta; print(build_meta.build_sdist({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    (archive_file,) = tmp_path.glob("monai_dis-*.tar.gz")
    shutil.unpack_archive(archive_file, tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    build = [sys.executable, "-m", "pip", "wheel", str(unpacked), "--no-deps", "--no-build-isolation", "--quiet"]
    build += ["--wheel-dir", str(tmp_path)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("monai_dis-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    for app in CLONE.glob("apps/dis/*.py"):
        assert (tmp_path / "site" / "monai_dis" / "_apps" / "dis" / app.name).read_bytes() == app.read_bytes()
    expected = {path.parents[1].name for path in CLONE.glob("bundles/*/configs/metadata.json")}
    code = (
        "import json, monai_dis, monai_dis.bundle as b\n"
        "print(json.dumps({'file': monai_dis.__file__, 'bundles': {n: str(f) for n, f in b.known_bundles().items()}}))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        check=True,
        capture_output=True,
    )
    told = json.loads(found.stdout)
    assert Path(told["file"]).is_relative_to(tmp_path / "site")
    assert set(told["bundles"]) == expected
    for name, folder in told["bundles"].items():
        original = CLONE / "bundles" / name
        for part in ("configs", "models"):
            for path in (p for p in (original / part).rglob("*") if p.is_file() and not p.name.startswith(".")):
                assert (Path(folder) / path.relative_to(original)).read_bytes() == path.read_bytes()
