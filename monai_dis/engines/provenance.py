"""What a training stage was made from: its configs, its settings, its data by content, and the code that ran.

A stage that is finished is kept, and an unfinished one resumed, only where all of it is still the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import monai
import torch

from monai_dis.data.atomic import atomic_path
from monai_dis.data.cases import Case, Dataset

__all__ = ["StageRecord", "code_digest", "data_digest", "files_digest", "record_file"]

#: Entries that say where things are and how fast they go, and change nothing of what comes out.
_ELSEWHERE = ("bundle_root", "data_dir", "device", "work_dir", "workers")
_LENGTH = "epochs"
#: Parts of this package that a stage runs.
_CODE = ("data", "engines", "inferers", "losses", "metrics", "networks", "transforms")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class StageRecord:
    """What a stage was, or is to be, made from.

    Attributes:
        configs: digest of its config files.
        settings: entries replaced in them, in plain JSON types.
        data: digest of the training cases, files and names; empty where the config names no data set.
        code: digest of the code that ran.
        finished: whether the stage is done.
    """

    configs: str
    settings: Mapping[str, Any]
    data: str
    code: str
    finished: bool = False

    @classmethod
    def of(cls, configs: Sequence[Path], settings: Mapping[str, Any], data: Dataset | None) -> StageRecord:
        """What a stage is to be made from now.

        Args:
            configs: its config files.
            settings: entries to replace in them.
            data: its data set.
        """
        kept = {key: value for key, value in settings.items() if key not in _ELSEWHERE}
        plain = json.loads(json.dumps(kept, sort_keys=True, default=str))
        return cls(files_digest(configs), plain, "" if data is None else data_digest(data), code_digest())

    @classmethod
    def read(cls, file: Path) -> StageRecord | None:
        """The record of a stage that was begun; None when there is none, or it is no record."""
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, file: Path, *, finished: bool) -> None:
        """Put the record beside the stage's files."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as temporary:
            temporary.write_text(
                json.dumps(asdict(replace(self, finished=finished)), indent=1) + "\n", encoding="utf-8"
            )

    def differences(self, earlier: StageRecord) -> list[str]:
        """What is no longer as it was; an unfinished stage may become longer or shorter.

        Returns:
            a few words for each, such as ``"other data"``.
        """
        found = [
            words
            for words, mine, theirs in (
                ("another bundle, or another config of it", self.configs, earlier.configs),
                ("other data", self.data, earlier.data),
                ("another version of monai_dis, MONAI or PyTorch", self.code, earlier.code),
            )
            if mine != theirs
        ]
        for key in sorted({*self.settings, *earlier.settings}):
            mine, theirs = self.settings.get(key), earlier.settings.get(key)
            if mine != theirs and (key != _LENGTH or earlier.finished):
                found.append(f"{key} {_shown(theirs)} instead of {_shown(mine)}")
        return found


def record_file(work: Path, stage: str) -> Path:
    """Where the record of a stage lies."""
    return work / f"{stage}.stage.json"


def data_digest(data: Dataset) -> str:
    """SHA-256 of the training cases: names, groups, rules, and the content of images and labels, wherever they lie."""
    digest = hashlib.sha256()
    for case in data.part("train"):
        digest.update(json.dumps([case.name, case.dataset, case.group, case.label_rule]).encode())
        for what, path in _files_of(case):
            stat = path.stat()
            digest.update(f"{what} {_content(path, stat.st_mtime_ns, stat.st_size)};".encode())
    return digest.hexdigest()


def files_digest(files: Iterable[Path]) -> str:
    """SHA-256 of files by name and content."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} ".encode() + file.read_bytes() + b";")
    return digest.hexdigest()


@lru_cache(maxsize=1)
def code_digest() -> str:
    """SHA-256 of the code that a stage runs: this package's own, and the versions of MONAI and PyTorch."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256(f"{monai.__version__} {torch.__version__}".encode())
    for name in _CODE:
        for file in sorted((package / name).rglob("*.py")):
            digest.update(f"{file.relative_to(package).as_posix()} ".encode() + file.read_bytes())
    return digest.hexdigest()


def _files_of(case: Case) -> Iterable[tuple[str, Path]]:
    yield "image", case.image
    labels = case.label if isinstance(case.label, Mapping) else {"label": case.label}
    for name, path in labels.items():
        if path is not None:
            yield name, path


@lru_cache(maxsize=4096)
def _content(path: Path, modified: int, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _shown(value: Any) -> str:
    return "the config's own" if value is None else str(value)
