"""Weights: strict, without running code, and with a sentence when they do not fit."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from monai_dis.bundle import load_weights, weights_digest
from monai_dis.errors import BundleError


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def test_weights_come_back_as_they_were_saved(tmp_path: Path) -> None:
    saved, loaded = network(), network()
    torch.save(saved.state_dict(), tmp_path / "model.pt")
    assert weights_digest(saved) != weights_digest(loaded)
    assert load_weights(loaded, tmp_path / "model.pt") is loaded
    assert weights_digest(saved) == weights_digest(loaded)
    assert not loaded.training


def missing(path: Path) -> None:
    pass


def truncated(path: Path) -> None:
    torch.save(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-200])


def empty(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("version https://git-lfs.example/spec/v1\n")


def whole_module(path: Path) -> None:
    torch.save(network(), path)


def malicious(path: Path) -> None:
    path.write_bytes(pickle.dumps(Malicious(path.parent / "ran")))


def other_network(path: Path) -> None:
    torch.save(nn.Sequential(nn.Conv2d(1, 2, 3)).state_dict(), path)


def other_shape(path: Path) -> None:
    torch.save(nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)).state_dict(), path)


def not_a_state(path: Path) -> None:
    torch.save(torch.zeros(3), path)


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        pytest.param(missing, "are missing: train the bundle", id="missing"),
        pytest.param(truncated, "damaged", id="truncated"),
        pytest.param(empty, "damaged", id="empty"),
        pytest.param(text, "damaged", id="text-file"),
        pytest.param(whole_module, "more than tensors", id="pickled-module"),
        pytest.param(malicious, "damaged or hold more than tensors", id="malicious"),
        pytest.param(other_network, "5 tensors missing", id="other-network"),
        pytest.param(other_shape, "1 of another shape", id="other-shape"),
        pytest.param(not_a_state, "not a plain state dict", id="tensor"),
    ],
)
def test_weights_that_do_not_fit_are_refused(make: Callable[[Path], None], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    make(path)
    with pytest.raises(BundleError, match=sentence):
        load_weights(network(), path)
    assert not (tmp_path / "ran").exists()


def test_planar_networks_are_loaded_channels_last_and_are_the_same(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)).eval()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    x = torch.randn(2, 3, 16, 16)

    loaded = load_weights(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)), tmp_path / "model.pt")

    assert loaded[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert weights_digest(loaded) == weights_digest(network)
    torch.testing.assert_close(loaded(x), network(x), rtol=1e-5, atol=1e-5)
