"""The page for people: whole in itself, and safe with strange file names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from PIL import Image

from monai_dis.reports.page import write_page


def entry(name: str, folder: Path) -> dict[str, Any]:
    Image.new("RGB", (30, 20), (200, 10, 10)).save(folder / f"{name}_overlay.png")
    return {
        "input": f"somewhere/{name}.png",
        "output": str(folder / f"{name}_seg.png"),
        "overlay": str(folder / f"{name}_overlay.png"),
        "windows_refined": 3,
        "windows_total": 16,
        "operations": 123_000_000,
        "fraction_of_full_pass": 0.21,
        "fraction_of_sliding_window": 0.05,
        "seconds": {"read": 0.1, "total": 0.4},
        "peak_memory_bytes": 2**28,
    }


def report(images: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "settings": {"mode": "dis"},
        "summary": {
            "images": len(images), "done": 1, "kept": 0, "failed": 1, "windows_refined": 3, "windows_total": 16,
            "mean_fraction_of_full_pass": 0.21, "mean_fraction_of_sliding_window": 0.05, "seconds": 0.4, "peak_memory_bytes": 2**28,
        },
        "images": images,
    }  # fmt: skip


def test_the_page_holds_pictures_figures_and_errors(tmp_path: Path) -> None:
    page = write_page(
        report([entry("eye", tmp_path), {"input": "bad.png", "error": "bad.png is cut short."}]), tmp_path
    )
    text = page.read_text()
    assert text.count("src='data:image/jpeg;base64,") == 1
    assert "3 of 16" in text
    assert "21.0%" in text
    assert "bad.png is cut short." in text
    assert not re.search(r"(src|href)='(http|//|/)", text)


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    text = write_page(report([{"input": "<script>x</script>'.png", "error": "<b>"}]), tmp_path).read_text()
    assert "<script>" not in text
    assert "<b>" not in text
