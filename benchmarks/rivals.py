"""The rivals of a bundle: what its ``baseline`` stages trained, at one resolution each."""

from __future__ import annotations

from pathlib import Path

from monai.bundle import ConfigParser
from torch import nn

from monai_dis.bundle import load_weights
from monai_dis.engines.recipe import stage_name

__all__ = ["load_rival", "rival_network"]


def load_rival(bundle: Path, work: Path, scale: int) -> nn.Module | None:
    """The trained rival of a resolution; None, said on the terminal, where it was not trained."""
    weights = work / f"{stage_name({'overlay': 'baseline', 'scale': scale})}.pt"
    if not weights.is_file():
        print(f"no {weights.name}: this rival is left out", flush=True)
        return None
    return load_weights(rival_network(bundle), weights).eval()


def rival_network(bundle: Path) -> nn.Module:
    """The rival before its training, for what depends on its structure alone."""
    parser = ConfigParser()
    parser.read_config([str(bundle / "configs" / name) for name in ("stage.yaml", "baseline.yaml")])
    network: nn.Module = parser.get_parsed_content("network_def")
    return network.eval()
