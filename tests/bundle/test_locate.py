"""Finding bundles by name or folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from monai_dis.bundle import find_bundle, known_bundles, locate
from monai_dis.errors import BundleError


def test_a_folder_is_found_whatever_the_working_directory(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_bundle.parent)
    assert find_bundle("tiny_bundle") == find_bundle(tiny_bundle) == tiny_bundle.resolve()


def test_a_known_name_is_found_and_clone_comes_before_wheel(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone, wheel = tiny_bundle.parent / "clone", tiny_bundle.parent / "wheel"
    for shelf in (clone, wheel):
        (shelf / "both" / "configs").mkdir(parents=True)
        (shelf / "both" / "configs" / "metadata.json").write_text("{}")
    (wheel / "one" / "configs").mkdir(parents=True)
    (wheel / "one" / "configs" / "metadata.json").write_text("{}")
    monkeypatch.setattr(locate, "_SHELVES", (clone, wheel))
    assert known_bundles() == {"both": clone / "both", "one": wheel / "one"}
    assert find_bundle("one") == wheel / "one"


def test_an_unknown_name_lists_the_known_ones_and_the_nearest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "fundus" / "configs").mkdir(parents=True)
    (tmp_path / "fundus" / "configs" / "metadata.json").write_text("{}")
    monkeypatch.setattr(locate, "_SHELVES", (tmp_path,))
    with pytest.raises(BundleError, match=r"known names \(fundus\). Did you mean fundus\?"):
        find_bundle("fundsu")


def test_a_folder_that_is_no_bundle_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has no configs/metadata.json"):
        find_bundle(tmp_path)


def test_finding_a_bundle_does_not_import_torch() -> None:
    code = "import sys, monai_dis.bundle as b; b.known_bundles(); sys.exit('torch' in sys.modules or 'monai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
