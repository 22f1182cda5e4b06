"""What a benchmark writes into a bundle's docs: whole files, and tables between their marks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from monai_dis.data.atomic import atomic_path

__all__ = ["marked", "step_down", "write_json", "write_marked"]


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def marked(text: str, mark: str) -> tuple[str, str, str]:
    """Part a page at ``<!-- mark -->`` and ``<!-- end of mark -->``: before, between, after."""
    before, rest = text.split(f"<!-- {mark} -->")
    between, after = rest.split(f"<!-- end of {mark} -->")
    return before, between.strip(), after


def write_marked(page: Path, mark: str, content: str) -> None:
    """Put a table between its marks."""
    before, _, after = marked(page.read_text(encoding="utf-8"), mark)
    with atomic_path(page) as temporary:
        temporary.write_text(f"{before}<!-- {mark} -->\n{content}\n<!-- end of {mark} -->{after}", encoding="utf-8")


def step_down(values: Sequence[float]) -> float:
    """Largest step down of a quality as the budget grows.

    Example:
        >>> step_down([0.5, 0.75, 0.5, 1.0])
        0.25
    """
    return max((max(0.0, a - b) for a, b in pairwise(values)), default=0.0)
