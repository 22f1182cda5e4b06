"""Opening a bundle: metadata, config, overrides, and errors that name what to mend."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch

from monai_dis.bundle import BundleMetadata, load_bundle
from monai_dis.errors import BudgetError, BundleError


def test_metadata_is_typed(tiny_bundle: Path) -> None:
    metadata = load_bundle(tiny_bundle).metadata
    assert (metadata.name, metadata.version, metadata.input_channels, metadata.classes) == (
        "Bright things",
        "0.0.1",
        3,
        {0: "bright"},
    )


def test_parts_are_made_once_with_overrides_and_weights(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle, overrides={"inferer::roi_size": [8, 8]}, mode="coarse")
    assert list(bundle.part("inferer").settings.roi_size) == [8, 8]
    assert bundle.part("mode") == "coarse"
    assert bundle.part("network") is bundle.part("network")
    assert torch.equal(bundle.part("network").coarse.bias, torch.tensor([-10.0]))


def test_loading_is_quiet(tiny_bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_bundle(tiny_bundle).part("network")
    assert capfd.readouterr() == ("", "")


def test_an_error_of_a_part_reaches_the_user_as_it_is(tiny_bundle: Path) -> None:
    with pytest.raises(BudgetError, match="windows must be a whole number"):
        load_bundle(tiny_bundle, windows=-1, image_files=["x.png"]).part("evaluator")


@pytest.mark.parametrize(
    ("overrides", "part", "sentence"),
    [
        pytest.param({}, "nothing", "has no entry 'nothing'", id="no-such-part"),
        pytest.param(
            {"inferer::_target_": "monai_dis.inferers.Nonsense"},
            "inferer",
            "cannot make its 'inferer'",
            id="unknown-target",
        ),
        pytest.param({"inferer::nonsense": 1}, "inferer", "nonsense", id="unknown-argument"),
    ],
)
def test_a_part_that_cannot_be_made_is_named(
    tiny_bundle: Path, overrides: dict[str, object], part: str, sentence: str
) -> None:
    with pytest.raises(BundleError, match=sentence):
        load_bundle(tiny_bundle, overrides=overrides).part(part)


def test_an_override_of_an_entry_that_is_not_there_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match="has no entry 'window'"):
        load_bundle(tiny_bundle, window=3)


def test_a_config_that_is_not_there_lists_those_that_are(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"no config 'train'; it has: evaluate, inference"):
        load_bundle(tiny_bundle, "train")


def test_a_config_that_is_no_yaml_is_refused(tiny_bundle: Path) -> None:
    (tiny_bundle / "configs" / "inference.yaml").write_text("a: [1\nb: }")
    with pytest.raises(BundleError, match="cannot be read"):
        load_bundle(tiny_bundle)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", json.dumps({"version": "1", "network_data_format": {"inputs": {}, "outputs": {}}})]
)
def test_metadata_that_is_damaged_is_refused(tiny_bundle: Path, content: str) -> None:
    (tiny_bundle / "configs" / "metadata.json").write_text(content)
    with pytest.raises(BundleError, match="metadata"):
        BundleMetadata.read(tiny_bundle)
