"""The code of docs/drop_in.md runs, and says what the page says of it."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from monai.inferers import SlidingWindowInferer

PAGE = (Path(__file__).parents[1] / "docs" / "drop_in.md").read_text(encoding="utf-8")


def test_the_example_runs_and_keeps_its_budget() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "docs/drop_in.md", "exec"), names)

    assert names["logits"].shape == (1, 2, 120, 120, 90)  # type: ignore[attr-defined]
    assert 0 < names["share"] <= 0.3  # type: ignore[operator]
    assert isinstance(names["existing"], SlidingWindowInferer)
    assert isinstance(names["volume"], torch.Tensor)
