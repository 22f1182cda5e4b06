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

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from PIL import Image

from monai_dis.bundle import BundleMetadata, known_bundles, load_bundle, load_weights
from monai_dis.data.image_files import list_images
from monai_dis.engines.recipe import stage_name

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


def test_inference_has_the_properties_that_monai_asks_for(name: str, tmp_path: Path) -> None:
    image = example_of(name, tmp_path)
    configs = folder_of(name) / "configs"
    workflow = ConfigWorkflow(
        str(configs / "inference.yaml"),
        str(configs / "metadata.json"),
        logging_file=False,
        workflow_type="inference",
        bundle_root=str(folder_of(name)),
        dataset_dir=str(image.parent),
    )
    workflow.initialize()

    assert not workflow.check_properties()
    assert [Path(item["image"]).name for item in workflow.dataset.data] == [p.name for p in list_images(image.parent)]
    assert workflow.bundle_root == str(folder_of(name))
    workflow.finalize()


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
    recipe, trained = ConfigParser.load_config_file(configs / "train.yaml"), {}
    overlays = {stage_name(stage): stage["overlay"] for stage in recipe["stages"]}
    for part, file in recipe["parts"].items():
        own = overlays[Path(file.split("'/")[1].rstrip("'")).stem]
        parser = ConfigParser()
        parser.read_config(
            [str(configs / f"{name}.yaml") for name in ("stage", *([own] if isinstance(own, str) else own))]
        )
        state = parser.get_parsed_content("network_def").state_dict()
        trained |= {f"{part}.{key}": value.shape for key, value in state.items()}
    assert trained == loaded


def test_network_gives_the_shapes_that_the_metadata_promise(name: str) -> None:
    bundle = load_bundle(name)
    network, formats = bundle.part("network"), bundle.metadata.content["network_data_format"]
    size = [96] * len(formats["inputs"]["image"]["spatial_shape"])
    image = torch.zeros(1, formats["inputs"]["image"]["num_channels"], *size)
    with torch.no_grad():
        assert network(image).shape == (1, formats["outputs"]["pred"]["num_channels"], *size)


def example_of(name: str, folder: Path) -> Path:
    """A photograph, or a volume: a bright ball in noise."""
    size = BundleMetadata.read(folder_of(name)).content["network_data_format"]["inputs"]["image"]["spatial_shape"]
    if len(size) == 2:
        return EXAMPLE
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in (120, 96, 64)], indexing="ij")
    ball = 40.0 * (sum(axis**2 for axis in axes) < 0.3) + np.random.default_rng(0).uniform(0, 20, axes[0].shape)
    file = folder / "ball.nii.gz"
    nib.save(nib.Nifti1Image(ball.astype(np.uint8), np.diag([-0.7, -0.7, 0.9, 1.0])), file)
    return file


def labels_in(folder: Path, image: Path) -> np.ndarray:
    file = folder / f"{image.name.split('.')[0]}_seg{'.png' if image == EXAMPLE else '.nii.gz'}"
    return np.asarray(Image.open(file) if image == EXAMPLE else nib.load(file).dataobj)


def test_monais_command_does_what_ours_does(name: str, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    image = example_of(name, images)
    if image.parent != images:
        (images / image.name).write_bytes(image.read_bytes())
    ours = [
        sys.executable,
        "-m",
        "monai_dis",
        "segment",
        str(image),
        "-b",
        name,
        "-o",
        str(tmp_path / "ours"),
        "--device",
        "cpu",
    ]
    theirs = [
        sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.yaml",
        "--dataset_dir", str(images), "--output_dir", str(tmp_path / "theirs"),
    ]  # fmt: skip
    for command in (ours, theirs):
        subprocess.run(command, cwd=folder_of(name), env=ENVIRONMENT, check=True, capture_output=True, text=True)
    assert np.array_equal(*(labels_in(tmp_path / who, image) for who in ("ours", "theirs")))
    reports = [json.loads((tmp_path / who / "report.json").read_text())["images"][0] for who in ("ours", "theirs")]
    assert reports[0]["operations"] == reports[1]["operations"]


def tables_of(name: str) -> dict[str, str]:
    """The tables that the benchmarks make of a bundle's files of results, by their marks in the page."""
    results = results_of(name)
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from expected_gain import gain_tables
        from learned_scores import learned_table
        from lesion_tables import results_table, scores_table
        from quality import table
        from variants import variants_table
        from volume_tables import results_table as volume_table
    finally:
        sys.path.pop(0)
    if "largest_step_down_of_average_precision" in results:
        return {"results": results_table(results), "scores": scores_table(results)}
    tables = {"results": volume_table(results) if "rival" in results else table(results)}
    docs = folder_of(name) / "docs"
    if (docs / "learned_scores.json").is_file():
        tables |= {"learned scores": learned_table(json.loads((docs / "learned_scores.json").read_text()))}
    if (docs / "expected_gain.json").is_file():
        tables |= gain_tables(json.loads((docs / "expected_gain.json").read_text()))
    if (docs / "variants.json").is_file():
        tables["variants"] = variants_table(json.loads((docs / "variants.json").read_text())["variants"])
    return tables


def results_of(name: str) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((folder_of(name) / "docs" / "results.json").read_text(encoding="utf-8"))
    return results


def test_docs_give_the_figures_of_the_results_file(name: str) -> None:
    text = (folder_of(name) / "docs" / "README.md").read_text(encoding="utf-8")
    for mark, table in tables_of(name).items():
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
    if "rival" in results:
        assert results["largest_step_down_of_dice"] <= 0.002
        return
    dice = [arm["dice"] for arm in results["arms"] if arm["kind"] == "dis"]
    assert len(dice) >= 8
    assert max(a - b for a, b in pairwise(dice)) <= 0.002
