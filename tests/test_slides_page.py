"""The commands of docs/slides.md run, write the files that the page names, and its table is that of the committed figures."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from command_line import call

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "slides.md").read_text(encoding="utf-8")

pytest.importorskip("tifffile", reason="needs the extra slides")
pytest.importorskip("imagecodecs", reason="needs the extra slides")


def test_the_commands_run_and_write_what_the_page_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from slide_files import spots, write_tiff

    commands = [shlex.split(line) for line in PAGE.splitlines() if line.startswith("monai-dis segment")]
    assert len(commands) == 2
    monkeypatch.chdir(tmp_path)
    for _, _, slide, *_ in commands:
        write_tiff(tmp_path / slide, spots(900, 700), levels=2)
    for command in commands:
        assert call(*command[1:]) == 0
    out = tmp_path / "out"
    for name in re.findall(r"^\| `slide(\S+?)`", PAGE, flags=re.MULTILINE):
        assert list(out.glob("slide" + name.replace("NAME", "*"))), name
    assert {"report.json", "report.html"} <= {path.name for path in out.iterdir()}


def test_the_table_is_that_of_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    sys.modules.pop("slides", None)
    import slides
    from documents import marked

    results = json.loads((ROOT / "docs" / "slides_results.json").read_text(encoding="utf-8"))
    assert marked(PAGE, "slides")[1] == slides.table(results)
    last = results["slides"][-1]
    assert min(last["pixels"]) >= 40_000 and last["peak_memory_bytes"] <= 2 << 30


def test_the_numbers_of_the_rule_are_those_of_the_code() -> None:
    from monai_dis.slides.dense import HALO, TILE
    from monai_dis.slides.geojson import MOST_CORNERS
    from monai_dis.slides.opening import SLIDE_PIXELS
    from monai_dis.slides.tissue import RULE

    assert SLIDE_PIXELS == 8192**2 and (TILE, HALO) == (1024, 128) and MOST_CORNERS == 1_000_000
    assert all(number in RULE for number in ("225", "18", "14"))
