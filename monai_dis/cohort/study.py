"""The studies of a cohort: image files, slides and DICOM studies of any inputs, each with a name of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from monai_dis.engines.output_folder import expand_inputs, name_outputs
from monai_dis.errors import DataError

if TYPE_CHECKING:
    from monai_dis.dicom.studies import Study

__all__ = ["CohortStudy", "find_cohort"]


@dataclass(frozen=True)
class CohortStudy:
    """One study of a cohort: small, so that it travels between processes while its images stay where they are.

    Attributes:
        name: what it is called, unlike any other of the cohort.
        image: the file, for an image that is no DICOM.
        study: the study, for DICOM.
        slide: whether the image is a slide, which is read from disk piece by piece.
    """

    name: str
    image: Path | None = None
    study: Study | None = None
    slide: bool = False

    def fingerprint(self) -> str:
        """SHA-256 of the names, sizes and times of change of its files: the same as long as nothing is touched."""
        paths = [self.image] if self.image is not None else list(self.study.paths if self.study is not None else ())
        digest = hashlib.sha256()
        for file in _files(path for path in paths if path is not None):
            try:
                status = file.stat()
                said = f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\n"
            except OSError:
                said = f"{file.name}\0missing\n"
            digest.update(said.encode())
        return digest.hexdigest()


def find_cohort(
    inputs: Sequence[str | Path], *, leave_out: Path | None = None, slides: bool = False
) -> list[CohortStudy]:
    """Find the studies of inputs: image files, slides, folders of either, DICOM studies, and trees of them.

    Args:
        inputs: what the user gave.
        leave_out: a folder that is not looked into, such as that of the results.
        slides: whether all that is no DICOM is a slide, however small.

    Raises:
        DataError: when there is nothing to segment.
    """
    from monai_dis.dicom.limits import Limits
    from monai_dis.dicom.sources import is_dicom_input
    from monai_dis.dicom.studies import find_studies
    from monai_dis.slides.opening import slide_stem, slides_and_others

    paths = [Path(each).expanduser() for each in inputs]
    dicom = [path for path in paths if is_dicom_input(path)]
    images = [path for path in paths if path not in dicom]
    whole, others = (images, []) if slides else slides_and_others(images)
    files = expand_inputs(others) if others else []
    cohort = [CohortStudy(stem, image=file) for file, stem in name_outputs(files, {}).items()]
    used = {each.name for each in cohort}
    named = name_outputs(whole, {}, used, slide_stem)
    cohort += [CohortStudy(stem, image=file, slide=True) for file, stem in named.items()]
    used |= set(named.values())
    for path in dicom:
        for study in find_studies(path, Limits(), leave_out=leave_out):
            name = f"{path.name}: {study.label}" if study.place else study.label
            number = 1
            while name in used:
                number += 1
                name = f"{study.label} #{number}"
            used.add(name)
            cohort.append(CohortStudy(name, study=study))
    if not cohort:
        raise DataError("there is nothing to segment: give one image, folder or study at least.")
    return cohort


def _files(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        found += sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return found
