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
    for overlay in ("uniform", "baseline"):
        weights = work / f"{stage_name({'overlay': overlay, 'scale': scale})}.pt"
        if weights.is_file():
            return load_weights(rival_network(bundle, overlay), weights).eval()
    print(f"no network was trained at 1/{scale}: this rival is left out", flush=True)
    return None


def rival_network(bundle: Path, overlay: str | None = None) -> nn.Module:
    """The rival before its training, for what depends on its structure alone; by default that of ``baseline.yaml``, where there is one."""
    configs, parser = bundle / "configs", ConfigParser()
    overlay = overlay or ("baseline" if (configs / "baseline.yaml").is_file() else "uniform")
    parser.read_config([str(configs / name) for name in ("stage.yaml", f"{overlay}.yaml")])
    network: nn.Module = parser.get_parsed_content("network_def")
    return network.eval()
