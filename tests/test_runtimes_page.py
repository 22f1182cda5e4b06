"""The code of docs/runtimes.md runs as it stands, and the page names every runtime."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from runtime_cases import needs

from monai_dis.runtimes import RUNTIMES

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "runtimes.md").read_text(encoding="utf-8")


def test_the_example_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    needs("openvino")
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert code.count('cache_dir="exports"') == 1
    names: dict[str, object] = {}
    exec(compile(code.replace('"exports"', repr(str(tmp_path))), "docs/runtimes.md", "exec"), names)
    assert names["result"].statistics.windows_refined > 0  # type: ignore[attr-defined]
    assert len(list(tmp_path.glob("*.onnx"))) == 3  # coarse network and two refine networks


def test_every_runtime_is_described() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|", PAGE, flags=re.MULTILINE)
    assert tuple(rows) == RUNTIMES
