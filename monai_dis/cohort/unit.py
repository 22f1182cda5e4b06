"""The unit of work of every engine: a bundle with its weights, loaded once, that segments a study at a time."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from monai_dis.bundle import find_bundle
from monai_dis.cohort.manifest import Manifest
from monai_dis.cohort.record import StudyRecord
from monai_dis.cohort.study import CohortStudy, find_cohort
from monai_dis.cohort.survey import Survey, SurveyedRunner, SurveyingRunner, keep_answers, kept_answers
from monai_dis.data.atomic import atomic_path
from monai_dis.engines.opening import open_segmenter
from monai_dis.engines.output_folder import prepare_folder
from monai_dis.engines.run_report import settings_digest
from monai_dis.errors import BundleError, DataError, DisError

if TYPE_CHECKING:
    from monai_dis.dicom.segmenting import DicomSettings

__all__ = ["COARSE_FOLDER", "StudySegmenter", "UnitSettings"]

#: Coarse answers between the two passes of a cohort with one budget.
COARSE_FOLDER = "coarse_answers"


@dataclass(frozen=True)
class UnitSettings:
    """What a unit is made from: a few words, so that it travels to a worker, which loads the weights itself.

    Attributes:
        bundle: name or folder.
        overrides: entries of the bundle's ``inference`` config to replace, in plain JSON types.
        dicom: how DICOM studies are taken and results written; the defaults when not given.
        threads: of the processor; None leaves PyTorch's choice.
    """

    bundle: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    dicom: DicomSettings | None = None
    threads: int | None = None


class StudySegmenter:
    """Segments studies with a bundle, one a call.

    The same study, bundle and settings give the same files, and a study that is done, or was refused, is recognised by the manifest of
    the output folder and not touched again. Calls are made one after the other.

    Args:
        settings: what it is made from, or name or folder of a bundle.

    Raises:
        DisError: one of its subclasses, when the bundle or a setting cannot be used.

    Example:
        >>> segment = StudySegmenter("fundus_vessels_dis")  # doctest: +SKIP
        >>> segment("eye.jpg", "out").status  # doctest: +SKIP
        'done'
    """

    def __init__(self, settings: UnitSettings | str) -> None:
        self.settings = settings if isinstance(settings, UnitSettings) else UnitSettings(settings)
        if self.settings.threads is not None:
            torch.set_num_threads(self.settings.threads)
        overrides = {**self.settings.overrides, "image_files": []}
        self.bundle, self.segmenter = open_segmenter(find_bundle(self.settings.bundle), overrides)
        self.segmenter.check_file = self._volume_check()
        self._dicom: Any = None
        self._slides: Any = None
        self._manifests: dict[Path, Manifest] = {}

    def __call__(
        self, study: CohortStudy | str | Path, output: str | Path, shares: Sequence[float] | None = None
    ) -> StudyRecord:
        """Segment a study, unless that was done.

        Args:
            study: of `monai_dis.cohort.find_cohort`, or the path of one study or image.
            output: folder of the results; made when missing.
            shares: of a full pass for each image of the study that `survey` looked at; None for the bundle's own budget.

        Returns:
            what became of it; also a line of the manifest, unless it was there.

        Raises:
            DataError: when a path holds several studies.
            OutputError: when the folder cannot be written.
        """
        one = study if isinstance(study, CohortStudy) else _only(study)
        folder = Path(output)
        if folder not in self._manifests:
            self._manifests[folder] = Manifest(prepare_folder(folder))
        manifest = self._manifests[folder]
        fingerprint, digest = one.fingerprint(), self.digest(one, shares)
        earlier = manifest.settled(one.name, fingerprint, digest)
        if earlier is not None and not self.segmenter.overwrite:
            return replace(earlier, kept=True)
        predictor, runner = self.segmenter.predictor, self.segmenter.runner
        if shares:
            if not _coarse_file(folder, one).is_file():
                self._survey(one, folder)  # an earlier run refined the study, and its files have changed since
            predictor.runner = SurveyedRunner(runner, kept_answers(_coarse_file(folder, one)), shares)
        try:
            if one.image is not None:
                segmenter = self.slides if one.slide else self.segmenter
                entry = segmenter.segment(one.image, one.name, folder)
            else:
                entry = self.dicom.segment(one.study, folder)
        finally:
            predictor.runner = runner
        record = StudyRecord.of_entry(one.name, fingerprint, digest, entry, f"{socket.gethostname()}:{os.getpid()}")
        manifest.append(record)
        if shares:
            _coarse_file(folder, one).unlink(missing_ok=True)
        return record

    def survey(self, study: CohortStudy, output: str | Path) -> tuple[Survey, ...]:
        """The coarse pass of a study, and what it says of the windows: one survey for each image that the network sees.

        The answers of the coarse network are kept below the output folder until the study is refined, and the surveys beside them, so
        that a run that was cut off does not look again.

        Args:
            study: of `monai_dis.cohort.find_cohort`.
            output: folder of the results; made when missing.

        Returns:
            surveys; none for a slide, which is never whole in memory, and for a study that cannot be segmented, which says why when it
            is segmented.

        Raises:
            BundleError: when the bundle has no coarse and refine network.
        """
        if study.slide:
            return ()
        folder = prepare_folder(output)
        file = _coarse_file(folder, study).with_suffix(".json")
        about = {"fingerprint": study.fingerprint(), "settings": self.digest(study)}
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            if {key: kept[key] for key in about} == about:
                return tuple(Survey.of_entry(each) for each in kept["surveys"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        surveys = self._survey(study, folder)
        with atomic_path(file) as temporary:
            temporary.write_text(json.dumps({**about, "surveys": [asdict(each) for each in surveys]}), encoding="utf-8")
        return surveys

    def _survey(self, study: CohortStudy, folder: Path) -> tuple[Survey, ...]:
        predictor, runner = self.segmenter.predictor, self.segmenter.runner
        surveying = SurveyingRunner(runner)
        predictor.runner = surveying
        (folder / COARSE_FOLDER).mkdir(exist_ok=True)
        try:
            if study.image is not None:
                if self.segmenter.check_file is not None:
                    self.segmenter.check_file(study.image)
                predictor(study.image)
            else:
                self.dicom.predict(study.study)
        except BundleError:
            raise
        except DisError:
            return ()
        finally:
            predictor.runner = runner
        keep_answers(_coarse_file(folder, study), surveying.answers)
        return tuple(surveying.surveys)

    def _volume_check(self) -> Callable[[Path], dict[str, Any]]:
        from monai_dis.dicom.limits import Limits
        from monai_dis.dicom.volume_check import volume_check

        dicom = self.settings.dicom
        limits, policies = (Limits(), {}) if dicom is None else (dicom.limits, dicom.policies)
        return volume_check(limits, policies, self.bundle.metadata.input_channels)

    def digest(self, study: CohortStudy, shares: Sequence[float] | None = None) -> str:
        """SHA-256 of what the result of a study depends on besides its files."""
        settings = self._result_settings(study)
        return settings_digest(settings if shares is None else {**settings, "shares": list(shares)})

    def _result_settings(self, study: CohortStudy) -> Mapping[str, Any]:
        if study.image is None:
            settings: Mapping[str, Any] = self.dicom.result_settings
            return settings
        return self.slides.result_settings if study.slide else self.segmenter.settings

    @property
    def slides(self) -> Any:
        """What segments slides, made when the first one comes.

        Raises:
            ImageError: when the bundle or its runtime is not for slides.
        """
        if self._slides is None:
            from monai_dis.slides.segmenting import SlideSegmenter

            self._slides = SlideSegmenter(self.segmenter)
        return self._slides

    @property
    def dicom(self) -> Any:
        """What segments DICOM studies, made when the first one comes.

        Raises:
            BundleError: when the bundle is not for DICOM.
        """
        if self._dicom is None:
            from monai_dis.dicom.segmenting import DicomSegmenter

            self._dicom = DicomSegmenter(self.segmenter, self.bundle.metadata, self.settings.dicom)
        return self._dicom


def _coarse_file(folder: Path, study: CohortStudy) -> Path:
    """Where the coarse answers of a study wait for its refinement; names of studies need not be names of files."""
    return folder / COARSE_FOLDER / f"{sha256(study.name.encode()).hexdigest()[:32]}.npz"


def _only(path: str | Path) -> CohortStudy:
    found = find_cohort([path])
    if len(found) > 1:
        raise DataError(f"{path} holds {len(found)} studies; give them one by one, or the list of find_cohort.")
    return found[0]
