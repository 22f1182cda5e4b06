"""Every shipped bundle through one contract: metadata, configs, weights, MONAI's own command, and figures that a command wrote."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image

from monai_dis.bundle import BundleMetadata, known_bundles, load_bundle, load_weights

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "chase_db1_02L.jpg"
BUNDLES = sorted(known_bundles())
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}

pytestmark = pytest.mark.parametrize("name", BUNDLES)


def folder_of(name: str) -> Path:
    return ROOT / "bundles" / name


def test_layout_is_that_of_the_model_zoo(name: str) -> None:
    files = {str(path.relative_to(folder_of(name))) for path in folder_of(name).rglob("*") if path.is_file()}
    assert {
        "LICENSE", "configs/metadata.json", "configs/inference.yaml", "configs/evaluate.yaml", "configs/train.yaml",
        "configs/multi_gpu_train.yaml", "docs/README.md", "docs/data_license.txt", "docs/results.json", "models/model.pt",
    } <= files  # fmt: skip


def test_metadata_passes_monais_check(name: str) -> None:
    command = [
        sys.executable, "-m", "monai.bundle", "verify_metadata", "--meta_file", "configs/metadata.json",
        "--filepath", str(Path(__file__).with_name("metadata_schema.json")),
    ]  # fmt: skip
    subprocess.run(command, cwd=folder_of(name), env=ENVIRONMENT, check=True, capture_output=True, text=True)
    assert BundleMetadata.read(folder_of(name)).version


def test_configs_parse(name: str) -> None:
    for config in (folder_of(name) / "configs").glob("*.yaml"):
        assert ConfigParser.load_config_file(config)


def test_weights_are_small_plain_and_fit(name: str) -> None:
    file = folder_of(name) / "models" / "model.pt"
    assert file.stat().st_size < 8e6
    state = torch.load(file, weights_only=True)
    assert all(isinstance(value, torch.Tensor) and bool(torch.isfinite(value).all()) for value in state.values())
    parser = ConfigParser(ConfigParser.load_config_file(folder_of(name) / "configs" / "inference.yaml"))
    load_weights(parser.get_parsed_content("network_def"), file)


def test_the_training_stages_build_the_networks_that_inference_loads(name: str) -> None:
    configs = folder_of(name) / "configs"
    pair = ConfigParser(ConfigParser.load_config_file(configs / "inference.yaml")).get_parsed_content("network_def")
    loaded = {key: value.shape for key, value in pair.state_dict().items()}
    trained = {}
    for part, file in ConfigParser.load_config_file(configs / "train.yaml")["parts"].items():
        stage = Path(file.split("'/")[1].rstrip("'")).stem
        parser = ConfigParser()
        parser.read_config([str(configs / "stage.yaml"), str(configs / f"{stage}.yaml")])
        state = parser.get_parsed_content("network_def").state_dict()
        trained |= {f"{part}.{key}": value.shape for key, value in state.items()}
    assert trained == loaded


def test_network_gives_the_shapes_that_the_metadata_promise(name: str) -> None:
    bundle = load_bundle(name)
    network, promised = bundle.part("network"), bundle.metadata.content["network_data_format"]["outputs"]["pred"]
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 96, 96)).shape == (1, promised["num_channels"], 96, 96)


def test_monais_command_does_what_ours_does(name: str, tmp_path: Path) -> None:
    ours = [
        sys.executable,
        "-m",
        "monai_dis",
        "segment",
        str(EXAMPLE),
        "-b",
        name,
        "-o",
        str(tmp_path / "ours"),
        "--device",
        "cpu",
    ]
    theirs = [
        sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.yaml",
        "--image_files", f"['{EXAMPLE}']", "--output_dir", str(tmp_path / "theirs"),
    ]  # fmt: skip
    for command in (ours, theirs):
        subprocess.run(command, cwd=folder_of(name), env=ENVIRONMENT, check=True, capture_output=True, text=True)
    results = [np.asarray(Image.open(tmp_path / who / "chase_db1_02L_seg.png")) for who in ("ours", "theirs")]
    assert np.array_equal(*results)
    reports = [json.loads((tmp_path / who / "report.json").read_text())["images"][0] for who in ("ours", "theirs")]
    assert reports[0]["operations"] == reports[1]["operations"]


def tables_of(results: dict[str, Any]) -> dict[str, str]:
    """The tables that the benchmark makes of a results file, by their marks in the page."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from lesion_tables import results_table, scores_table
        from quality import table
    finally:
        sys.path.pop(0)
    if "largest_step_down_of_average_precision" in results:
        return {"results": results_table(results), "scores": scores_table(results)}
    return {"results": table(results)}


def results_of(name: str) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((folder_of(name) / "docs" / "results.json").read_text(encoding="utf-8"))
    return results


def test_docs_give_the_figures_of_the_results_file(name: str) -> None:
    text = (folder_of(name) / "docs" / "README.md").read_text(encoding="utf-8")
    for mark, table in tables_of(results_of(name)).items():
        before, rest = text.split(f"<!-- {mark} -->")
        inside, after = rest.split(f"<!-- end of {mark} -->")
        assert inside.strip() == table.strip()
        text = before + after
    # and no figure of quality outside the tables
    assert not re.search(r"0?\.\d{3}", text)


def test_quality_does_not_fall_as_the_budget_grows(name: str) -> None:
    results = results_of(name)
    if "largest_step_down_of_average_precision" in results:
        assert results["largest_step_down_of_average_precision"] <= 0.003
        return
    dice = [arm["dice"] for arm in results["arms"] if arm["kind"] == "dis"]
    assert len(dice) >= 8
    assert max(a - b for a, b in pairwise(dice)) <= 0.002
