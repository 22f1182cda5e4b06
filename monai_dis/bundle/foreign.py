"""Bundles made for MONAI alone, as its model zoo has them: their network, transforms and sliding window, for a run of ours.

Such a bundle is code, as every bundle is: run only those that you trust.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_dis.bundle.loading import Bundle
from monai_dis.errors import BundleError

if TYPE_CHECKING:
    from monai.transforms.compose import Compose
    from torch import nn

    from monai_dis.inferers import IterativeInferer

__all__ = ["ForeignParts", "foreign_parts", "is_foreign"]


@dataclass(frozen=True)
class ForeignParts:
    """What a run needs of a bundle that knows nothing of us.

    Attributes:
        network: with its weights, in evaluation mode.
        inferer: the drop-in for the bundle's sliding window.
        overlap: of the bundle's own sliding window; None where the inferer is one of ours.
        preprocessing: reads and prepares an image.
        postprocessing: makes labels of the network's answer; what would write files is left out.
    """

    network: nn.Module
    inferer: IterativeInferer
    overlap: Any
    preprocessing: Compose
    postprocessing: Compose


def is_foreign(bundle: Bundle) -> bool:
    """Whether a bundle's inference config is run by MONAI's own engine instead of our segmenter."""
    config: Any = bundle.parser.config
    evaluator = config.get("evaluator")
    target = evaluator.get("_target_", "") if isinstance(evaluator, Mapping) else ""
    return not str(target).startswith("monai_dis.")


def foreign_parts(bundle: Bundle) -> ForeignParts:
    """Make the parts of a bundle of MONAI's model zoo.

    Raises:
        BundleError: when it is no segmentation by a sliding window, or lacks weights or an entry; the message says which.
    """
    from monai.inferers.inferer import SlidingWindowInferer

    from monai_dis.bundle.weights import load_checkpoint
    from monai_dis.inferers import DropInInferer, IterativeInferer

    config: Any = bundle.parser.config
    where = f"the bundle {bundle.folder}"
    if any("detector" in str(key).lower() for key in config):
        raise BundleError(
            f"{where} is for detection, which has boxes and no labels per voxel; give a segmentation bundle."
        )
    key = next((k for k in ("network_def", "network", "net") if k in config), None)
    if key is None:
        raise BundleError(f"{where} has no network in {bundle.config_file.name} (network_def or network).")
    if "inferer" not in config:
        raise BundleError(f"{where} has no inferer in {bundle.config_file.name}; it needs a SlidingWindowInferer.")
    with _scripts_of(bundle.folder):
        found = bundle.part("inferer")
        if isinstance(found, IterativeInferer):
            inferer, overlap = found, None
        elif type(found).__name__ in ("SlidingWindowInferer", "SlidingWindowInfererAdapt"):
            assert isinstance(found, SlidingWindowInferer)
            inferer, overlap = DropInInferer.of(found), found.overlap
        else:
            raise BundleError(
                f"{where} runs its network with {type(found).__name__}; only a SlidingWindowInferer has windows to choose among."
            )
        path, names = _checkpoint(bundle)
        network = load_checkpoint(bundle.part(key), path, names)
        preprocessing, postprocessing = (_transforms(bundle, key) for key in ("preprocessing", "postprocessing"))
    return ForeignParts(network, inferer, overlap, preprocessing, postprocessing)


def _checkpoint(bundle: Bundle) -> tuple[Path, list[str]]:
    """The file of the weights and the names under which they may lie in it, as the bundle's ``CheckpointLoader`` has them."""
    names = ["model", "state_dict", "network"]
    path = bundle.folder / "models" / "model.pt"
    for place, loader in _entries(bundle.parser.config, ""):
        if str(loader.get("_target_", "")).split(".")[-1] != "CheckpointLoader":
            continue
        if "load_path" in loader:
            path = Path(str(bundle.part(f"{place}::load_path" if place else "load_path")))
        if isinstance(loader.get("load_dict"), Mapping):
            names = [*loader["load_dict"], *names]
        break
    if not path.is_file():
        scripts = [p.name for p in (bundle.folder / "models").glob("*.ts")]
        if scripts:
            raise BundleError(
                f"the bundle {bundle.folder} has its network as TorchScript only ({scripts[0]}); the weights {path} are needed, "
                "as they come with the bundle's training."
            )
        raise BundleError(f"the weights {path} of the bundle are missing; download the whole bundle.")
    return path, names


def _entries(config: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All mappings of a config with their keys, as MONAI writes them (``handlers::0``)."""
    if isinstance(config, Mapping):
        yield place, config
        children = list(config.items())
    else:
        children = list(enumerate(config)) if isinstance(config, (list, tuple)) else []
    for key, value in children:
        yield from _entries(value, f"{place}::{key}" if place else str(key))


def _transforms(bundle: Bundle, key: str) -> Compose:
    """A chain of transforms without those that write files: what is written, and where, is the run's affair."""
    from monai.transforms.compose import Compose
    from monai.transforms.io.array import SaveImage
    from monai.transforms.io.dictionary import SaveImaged

    if key not in bundle.parser:
        raise BundleError(f"the bundle {bundle.folder} has no {key} in {bundle.config_file.name}.")
    chain = bundle.part(key)
    members = chain.transforms if isinstance(chain, Compose) else chain
    if not isinstance(members, (list, tuple)):
        raise BundleError(f"the {key} of the bundle {bundle.folder} is no Compose of transforms.")
    kept = Compose([member for member in members if not isinstance(member, (SaveImage, SaveImaged))])
    # Invertd looks for the transform that it inverts by identity, so that one stays as it is.
    return chain if isinstance(chain, Compose) and len(kept.transforms) == len(members) else kept


@contextmanager
def _scripts_of(folder: Path) -> Iterator[None]:
    """A bundle may bring modules of its own (``scripts``), found from its folder."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
