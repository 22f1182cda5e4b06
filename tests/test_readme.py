"""The README's examples run as they stand, and its commands are the ones that are tested."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_examples_run(number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    exec(compile(blocks("python")[number], f"README example {number}", "exec"), names)
    if "result" in names:
        out = capsys.readouterr().out
        share = float(re.search(r"([\d.]+)% of the image is vessel", out)[1])  # type: ignore[index]
        assert 3 < share < 20
    else:
        assert names["everywhere"].shape == names["a_tenth"].shape == (1, 2, 96, 96, 64)  # type: ignore[attr-defined]


def test_the_first_example_has_ten_lines_at_most() -> None:
    assert len([line for line in blocks("python")[0].splitlines() if line.strip()]) <= 10


def test_commands_exist_with_their_options() -> None:
    from typer.testing import CliRunner

    from monai_dis.cli.app import app

    lines = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("monai-dis ")]
    assert len(lines) >= 4
    for line in lines:
        _, command, *arguments = shlex.split(line)
        words = [command, arguments[0]] if command in ("dicom", "label") else [command]
        shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "300", "NO_COLOR": "1"})
        assert shown.exit_code == 0
        assert all(argument in shown.output for argument in arguments if argument.startswith("--"))


def test_files_that_the_page_shows_are_there() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert targets and all((ROOT / target).exists() for target in targets)
