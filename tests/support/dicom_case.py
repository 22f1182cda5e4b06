"""One input case of the table: its name, expected finding and the function that writes it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from dicom_files import PART10_MAGIC_OFFSET, write_part10
from dicom_objects import ACCESSION_NUMBER, INSTITUTION_NAME, PATIENTS, Identity
from dicom_phantom import Grid, landmarks_of
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
)

BYTES_PER_MEBIBYTE = 1 << 20

BOMB_BYTES = 64 * BYTES_PER_MEBIBYTE

JAPANESE_NAME = "Canaryname^Hana=金糸雀^花=かなりあ^はな"

UTF8_NAME = "Kanárková^Žofie=Καναρίνι^Σοφία"

LATIN1_NAME_BYTES = b"Kan\xe4rienv\xf6gel^Ute"

PHI_CANARIES = (
    [text for pair in PATIENTS.values() for text in pair]
    + [JAPANESE_NAME, UTF8_NAME, LATIN1_NAME_BYTES.decode("latin-1")]
    + ["金糸雀", "Καναρίνι", ACCESSION_NUMBER, INSTITUTION_NAME]
)


@dataclass
class CaseWriter:
    """Collects the files and the expectation of one case."""

    name: str
    root: Path
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of this case."""
        return self.root / self.name

    def identity(self, **changes: Any) -> Identity:
        """Return the identity of the case's first series, with changes."""
        return replace(Identity(self.name), **changes)

    def save(
        self,
        series: Sequence[Dataset],
        transfer_syntax: str = ExplicitVRLittleEndian,
        prefix: str = "image",
        folder: str = "",
        suffix: str = ".dcm",
        preamble: bytes = b"\0" * PART10_MAGIC_OFFSET,
    ) -> list[Path]:
        """Write the objects under names that do not follow the slice order."""
        names = list(range(len(series)))
        random.Random(f"{self.name}/{prefix}").shuffle(names)
        paths = []
        for number, dataset in zip(names, series, strict=False):
            path = self.folder / folder / f"{prefix}{number:04d}{suffix}"
            write_part10(path, dataset, transfer_syntax, preamble)
            paths.append(path)
        return paths

    def write(self, name: str, content: bytes) -> Path:
        """Write one plain file into the case folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def expect(self, **fields: Any) -> None:
        """Add fields to the case's entry in expected.json."""
        self.record.update(fields)

    def expect_volume(self, grid: Grid, offset: float = 0.0) -> None:
        """Expect a correct reader to return this volume with its landmarks."""
        volume = {
            "shape_columns_rows_slices": [grid.columns, grid.rows, grid.slices],
            "affine_lps_mm": np.round(grid.affine(), 9).tolist(),
        }
        self.record.setdefault("volumes", []).append(volume)
        self.expect_landmarks(grid, offset)

    def expect_landmarks(self, grid: Grid, offset: float = 0.0) -> None:
        """State the world position and modality value of the marked voxels."""
        self.record["landmarks"] = [
            {
                "name": mark.name,
                "index_column_row_slice": list(mark.index),
                "world_lps_mm": grid.world(mark.index),
                "value": mark.value + offset,
            }
            for mark in landmarks_of(grid)
        ]


@dataclass(frozen=True)
class Case:
    """A case: its name, expected finding and the function that writes it."""

    name: str
    code: str | None
    verdict: str
    summary: str
    build: Callable[[CaseWriter], None]

    @property
    def item(self) -> str:
        """The number in the acceptance list, such as I3."""
        return self.name.split("-")[0].rstrip("abcdefghijklmnopqrstuvwxyz")


CASES: list[Case] = []

VERDICTS = ("accept", "fix", "warn", "reject")


def case(
    name: str, code: str | None, verdict: str, summary: str
) -> Callable[[Callable[[CaseWriter], None]], Callable[[CaseWriter], None]]:
    """Register the decorated function as the writer of a case."""
    if verdict not in VERDICTS:
        raise ValueError(f"{name}: unknown verdict {verdict}")

    def register(build: Callable[[CaseWriter], None]) -> Callable[[CaseWriter], None]:
        CASES.append(Case(name, code, verdict, summary, build))
        return build

    return register


MR_BUNDLE = {"modality": "MR", "body_part": "ABDOMEN"}

PT_BUNDLE = {"modality": "PT", "body_part": "ABDOMEN"}

MR_OFFSET = 1000.0
