"""Tables and JSON files of results."""

from __future__ import annotations

import json
import math
from pathlib import Path

from monai_dis.engines.tables import write_csv, write_json


def test_a_table_has_the_columns_of_all_its_rows(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [{"name": "x", "dice": 0.5}, {"name": "y", "error": "gone, lost"}])
    assert (tmp_path / "a.csv").read_text().splitlines() == ["name,dice,error", "x,0.5,", 'y,,"gone, lost"']


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": math.nan, "b": [math.inf, 1.5, (2, -math.inf)], "c": {"d": True, "e": "nan"}})
    content = json.loads((tmp_path / "a.json").read_text(), parse_constant=lambda word: word)
    assert content == {"a": None, "b": [None, 1.5, [2, None]], "c": {"d": True, "e": "nan"}}
