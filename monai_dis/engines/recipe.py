"""A training recipe: the stages of a bundle in order, each a MONAI bundle run of its own, and the weights that come out.

The steps are out-of-fold coarse networks, the coarse network on all cases, the refine network. A finished stage is not run again and an
interrupted one resumes from its last epoch, if they were made from the same: see `monai_dis.engines.provenance`.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle.config_parser import ConfigParser
from monai.bundle.scripts import run as run_bundle

from monai_dis.data.cases import Dataset
from monai_dis.engines.provenance import StageRecord, record_file
from monai_dis.engines.stage_files import save_state
from monai_dis.errors import BundleError, DisError, OutputError

__all__ = ["assemble", "own_error", "run_stages", "stage_name"]

logger = logging.getLogger(__name__)

_RESULTS = ("pt", "json")


@dataclass(frozen=True)
class _Stage:
    """A stage before it runs.

    Attributes:
        name: of its files.
        configs: its config files, one laid over the other.
        settings: entries to replace in them.
        record: what it is to be made from.
        earlier: what was made of it before; None when it was not begun.
    """

    name: str
    configs: tuple[Path, ...]
    settings: Mapping[str, Any]
    record: StageRecord
    earlier: StageRecord | None

    def results_in(self, work: Path) -> bool:
        """Whether its results are there."""
        return any((work / f"{self.name}.{kind}").is_file() for kind in _RESULTS)

    def begun_in(self, work: Path) -> bool:
        """Whether there is something that it could go on from."""
        return self.results_in(work) or any((work / self.name).glob("*.pt"))

    def finished_in(self, work: Path) -> bool:
        """Whether nothing is left to do."""
        return self.results_in(work) and self.earlier is not None and self.earlier.finished


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

    Before the first one runs, the data set and its labels are checked, and what an earlier run left is compared with what is asked for.

    Args:
        configs: folder with ``stage.yaml`` and the overlays.
        stages: each a mapping with ``overlay`` (a name in ``configs``, or several, of which the later overrides the earlier), perhaps
            a ``name`` of its own, and the overrides of this stage, such as ``fold`` or ``scale``.
        work_dir: folder of checkpoints, weights and coarse answers. A stage whose ``<name>.pt`` or ``<name>.json`` is there is skipped if
            ``<name>.stage.json`` says that it was made from the same.
        overrides: overrides of every stage, such as ``data_dir``; None values are left to the config.

    Raises:
        BundleError: when a stage's config is missing.
        OutputError: when the folder holds stages that were made from something else.
        DataError: when the data or their labels cannot be used, or are too few.
    """
    folder, work = Path(configs), Path(work_dir)
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    planned = [_planned(folder, work, stage, given) for stage in stages]
    _check_earlier(planned, work)
    trained = False
    for number, stage in enumerate(planned, start=1):
        # What comes after a stage that was made just now was not made from it.
        if stage.finished_in(work) and not trained:
            logger.info("stage %d of %d, %s: finished already", number, len(planned), stage.name)
            continue
        logger.info("stage %d of %d, %s", number, len(planned), stage.name)
        if stage.earlier is not None and stage.earlier.finished:
            _remove(work, stage.name)
        trained = True
        stage.record.write(record_file(work, stage.name), finished=False)
        try:
            run_bundle(
                config_file=[str(file) for file in stage.configs],
                bundle_root=str(folder.parent),
                work_dir=str(work),
                stage_name=stage.name,
                **stage.settings,
            )
        except RuntimeError as error:
            reason = own_error(error)
            if reason is None:
                raise
            raise type(reason)(f"stage {stage.name}: {reason}") from error
        stage.record.write(record_file(work, stage.name), finished=True)


def own_error(error: BaseException) -> DisError | None:
    """The error of ours inside what MONAI makes of an error in a config, once for each recipe and stage."""
    root: BaseException | None = error
    while root is not None and not isinstance(root, DisError):
        root = root.__cause__ or root.__context__
    return root


def _planned(folder: Path, work: Path, stage: Mapping[str, Any], given: Mapping[str, Any]) -> _Stage:
    name = stage_name(stage)
    files = tuple(folder / f"{part}.yaml" for part in ("stage", *_overlays(stage)))
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise BundleError(
            f"stage {name} needs {missing[0]}, which is missing; a recipe's stages name overlays in {folder}."
        )
    settings = {**given, **{key: value for key, value in stage.items() if key not in ("overlay", "name")}}
    record = StageRecord.of(files, settings, _dataset(files, {**settings, "bundle_root": str(folder.parent)}))
    return _Stage(name, files, settings, record, StageRecord.read(record_file(work, name)))


def _dataset(files: Sequence[Path], settings: Mapping[str, Any]) -> Dataset | None:
    """What the stage's config calls its cases."""
    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    parser.update(dict(settings))
    if "cases" not in parser:
        return None
    try:
        cases = parser.get_parsed_content("cases")
    except RuntimeError as error:
        reason = own_error(error)
        if reason is None:
            raise
        raise reason from None
    return cases if isinstance(cases, Dataset) else None


def _check_earlier(stages: Sequence[_Stage], work: Path) -> None:
    """Refuse a folder whose stages were made from something else."""
    for stage in stages:
        if not stage.begun_in(work):
            continue
        differences = (
            ["files that do not say what they were made from"]
            if stage.earlier is None
            else stage.record.differences(stage.earlier)
        )
        if differences:
            raise OutputError(
                f"{work} holds another training: its stage {stage.name} has {', '.join(differences)}. Choose another output "
                "folder, or start anew with --overwrite."
            )


def _remove(work: Path, name: str) -> None:
    """Remove what a stage left, its maps excepted, which are written anew."""
    for kind in _RESULTS:
        (work / f"{name}.{kind}").unlink(missing_ok=True)
    shutil.rmtree(work / name, ignore_errors=True)


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
