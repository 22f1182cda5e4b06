"""The script that prints the acceptance list as a table: it names tests that exist, and sees what is not met."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import dicom_cases_geometry
import pytest
from dicom_case import CASES, CaseWriter

HERE = Path(__file__).parent
REGISTERED = dicom_cases_geometry  # importing a module of cases registers them
SCRIPT = runpy.run_path(str(HERE.parents[1] / "benchmarks" / "acceptance.py"))


def test_every_expectation_is_proved_by_tests_that_exist() -> None:
    sources = "".join(path.read_text() for path in HERE.glob("test_*.py"))
    assert list(SCRIPT["OUTPUTS"]) == [f"O{number}" for number in range(1, 14)]
    for _, names in SCRIPT["OUTPUTS"].values():
        assert [name for name in names if f"def {name}(" not in sources] == []


@pytest.mark.parametrize(("expected", "met"), [("SLICE_GAP", True), ("SLICE_CONFLICT", False)])
def test_a_case_is_met_when_its_finding_is_reported(expected: str, met: bool, tmp_path: Path) -> None:
    case = next(each for each in CASES if each.name == "I1a-slice-missing")
    writer = CaseWriter(case.name, tmp_path)
    case.build(writer)
    entry: dict[str, Any] = {
        "item": "I1",
        "input": case.name,
        "code": expected,
        "verdict": "reject",
        "summary": case.summary,
        "bundle": {"modality": "CT", "body_part": "ABDOMEN"},
    }
    (tmp_path / "expected.json").write_text(json.dumps({"cases": {case.name: entry}}))
    (row,) = SCRIPT["input_rows"](tmp_path)
    assert row.met is met
    assert "1 slices are missing" in str(row)


def test_an_expectation_is_met_when_all_its_tests_passed(tmp_path: Path) -> None:
    names = {name for _, several in SCRIPT["OUTPUTS"].values() for name in several}
    cases = "".join(f'<testcase name="{name}[a]"/>' for name in names - {"test_nothing_found_is_a_result"})
    volumes = '<testcase name="test_volumes_are_in_millilitres_of_the_source_grid[b]"><failure/></testcase>'
    (tmp_path / "junit.xml").write_text(f"<testsuites><testsuite>{cases}{volumes}</testsuite></testsuites>")
    unmet = [row.cells[0] for row in SCRIPT["output_rows"](tmp_path / "junit.xml") if not row.met]
    assert unmet == ["O7", "O9"]
