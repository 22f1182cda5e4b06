"""What studies that are one file have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from monai_dis.printable import printable

__all__ = ["FileStudy"]


@dataclass(frozen=True)
class FileStudy:
    """A study that is a file, or a folder that counts as one. The rest of `monai_dis.pipeline.study.Study` is its kind's.

    Attributes:
        file: absolute.
    """

    file: Path

    @property
    def given(self) -> Path:
        """The file."""
        return self.file

    @property
    def place(self) -> str:
        """The file's path."""
        return str(self.file)

    @property
    def label(self) -> str:
        """The file's name."""
        return printable(self.file.name)

    def explain(self, error: Exception) -> str:
        """A sentence for what nobody foresaw."""
        return printable(f"{self.file} could not be segmented ({type(error).__name__}: {error})")
