"""A training recipe: the stages of a bundle in order, each a MONAI bundle run of its own, and the weights that come out.

The steps are out-of-fold coarse networks, the coarse network on all cases, the refine network; a finished stage is not run again,
and a killed one goes on from its last epoch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle.scripts import run as run_bundle

from monai_dis.engines.stage_files import save_state
from monai_dis.errors import BundleError

__all__ = ["assemble", "run_stages", "stage_name"]

logger = logging.getLogger(__name__)

_RESULTS = ("pt", "json")


def stage_name(stage: Mapping[str, Any]) -> str:
    """Name of a stage's files: its own, or the last overlay's name with the fold or the scale that it is run for.

    Example:
        >>> stage_name({"overlay": "coarse", "fold": 0}), stage_name({"overlay": "baseline", "scale": 2}), stage_name({"overlay": "refine"})
        ('coarse_fold0', 'baseline_2', 'refine')
    """
    if "name" in stage:
        return str(stage["name"])
    name = _overlays(stage)[-1]
    if stage.get("fold") is not None:
        return f"{name}_fold{stage['fold']}"
    if stage.get("scale", 1) != 1:
        return f"{name}_{stage['scale']}"
    return name


def run_stages(
    configs: str | Path,
    stages: Sequence[Mapping[str, Any]],
    work_dir: str | Path,
    overrides: Mapping[str, Any] | None = None,
) -> None:
    """Run training stages one after the other.

    Args:
        configs: folder with ``stage.yaml`` and the overlays.
        stages: each a mapping with ``overlay`` (a name in ``configs``, or several, of which the later overrides the earlier), perhaps
            a ``name`` of its own, and the overrides of this stage, such as ``fold`` or ``scale``.
        work_dir: folder of checkpoints, weights and coarse answers; a stage whose ``<name>.pt`` or ``<name>.json`` is there is
            skipped.
        overrides: overrides of every stage, such as ``data_dir``; None values are left to the config.

    Raises:
        BundleError: when a stage's config is missing.
    """
    folder, work = Path(configs), Path(work_dir)
    for number, stage in enumerate(stages, start=1):
        name = stage_name(stage)
        files = [folder / f"{part}.yaml" for part in ("stage", *_overlays(stage))]
        missing = [str(file) for file in files if not file.is_file()]
        if missing:
            raise BundleError(
                f"stage {name} needs {missing[0]}, which is missing; a recipe's stages name overlays in {folder}."
            )
        if any((work / f"{name}.{kind}").is_file() for kind in _RESULTS):
            logger.info("stage %d of %d, %s: finished already", number, len(stages), name)
            continue
        logger.info("stage %d of %d, %s", number, len(stages), name)
        options = {key: value for key, value in stage.items() if key not in ("overlay", "name")}
        given = {key: value for key, value in (overrides or {}).items() if value is not None}
        run_bundle(
            config_file=[str(file) for file in files],
            bundle_root=str(folder.parent),
            work_dir=str(work),
            stage_name=name,
            **given,
            **options,
        )


def assemble(parts: Mapping[str, str | Path], path: str | Path) -> None:
    """Join the weights of the stages to the state dict of a ``TwoStageNet``.

    Weights are kept in half precision, which halves the file and is far finer than training determines them; running statistics of
    normalisation, whose range is not bounded, stay in full. Loading converts them back. A file that is named for two parts, a network
    that is at home on two levels, takes its place once.

    Args:
        parts: attribute of the network to file of its plain state dict, such as ``{"coarse": ..., "refine": ...}``; under an empty
            name the one that is the network itself.
        path: file to write.

    Raises:
        BundleError: when a part is missing.
    """
    absent = [str(file) for file in parts.values() if not Path(file).is_file()]
    if absent:
        raise BundleError(f"{absent[0]} is missing; run the recipe's stages first.")
    # tensors of a file that several parts share are the same objects, which torch writes once
    weights = {str(file): {key: _compact(key, value) for key, value in _weights(file)} for file in parts.values()}
    state = {
        f"{name}.{key}" if name else key: value
        for name, file in parts.items()
        for key, value in weights[str(file)].items()
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_state(state, path)


def _overlays(stage: Mapping[str, Any]) -> list[str]:
    given = stage["overlay"]
    return [given] if isinstance(given, str) else [str(name) for name in given]


def _compact(key: str, value: torch.Tensor) -> torch.Tensor:
    return value.half() if value.is_floating_point() and "running_" not in key else value


def _weights(file: str | Path) -> Iterable[tuple[str, torch.Tensor]]:
    state: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return state.items()
