"""The code of docs/recipe.md runs, and the stages and switches that the page names are there."""

from __future__ import annotations

import re
from pathlib import Path

from monai_dis.bundle import known_bundles
from monai_dis.inferers import IterativeResult

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")


def test_the_example_runs_and_keeps_its_budget() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "docs/recipe.md", "exec"), names)

    result = names["result"]
    assert isinstance(result, IterativeResult)
    assert result.statistics.windows_refined == 5


def test_each_stage_of_the_table_is_one_of_a_bundle_and_the_other_way_round() -> None:
    table = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    named = set(re.findall(r"`(\w+)`", " ".join(table)))
    configs = [folder / "configs" for folder in known_bundles().values()]
    assert named <= {file.stem for folder in configs for file in folder.iterdir()}
    run = {
        s for folder in configs for s in re.findall(r"- \{overlay: (\w+)", (folder / "train.yaml").read_text("utf-8"))
    }
    # a refine stage for each level and the network of clicks are explained by the bundles that have them
    assert run - named <= {"refine_half", "refine_full", "clicks"}


def test_links_lead_to_files_and_headings() -> None:
    links = re.findall(r"\]\((\.\./[^)#]+)(?:#([^)]+))?\)", PAGE)
    assert links
    for path, anchor in links:
        text = (ROOT / "docs" / path).resolve().read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.*)", text, re.M)
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
