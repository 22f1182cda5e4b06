"""The rivals of a bundle: what its ``uniform`` or ``baseline`` stages trained, at one resolution each."""

from __future__ import annotations

from pathlib import Path

from monai.bundle import ConfigParser
from torch import nn

from monai_dis.bundle import load_weights
from monai_dis.engines.recipe import stage_name

__all__ = ["load_rival", "rival_network"]


def load_rival(bundle: Path, work: Path, scale: int) -> nn.Module | None:
    """The trained rival of a resolution; None, said on the terminal, where it was not trained.

    The pretrained network (``uniform_<scale>.pt``) is the stronger one and comes first.
    """
    uniform, baseline = work / f"uniform_{scale}.pt", work / f"{stage_name({'overlay': 'baseline', 'scale': scale})}.pt"
    if uniform.is_file():
        return load_weights(rival_network(bundle, "uniform"), uniform).eval()
    if baseline.is_file():
        return load_weights(rival_network(bundle), baseline).eval()
    print(f"no {uniform.name} and no {baseline.name}: this rival is left out", flush=True)
    return None


def rival_network(bundle: Path, overlay: str = "baseline") -> nn.Module:
    """The rival before its training, for what depends on its structure alone."""
    parser = ConfigParser()
    parser.read_config([str(bundle / "configs" / name) for name in ("stage.yaml", f"{overlay}.yaml")])
    network: nn.Module = parser.get_parsed_content("network_def")
    return network.eval()
