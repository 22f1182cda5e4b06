"""A DICOM study: inspected, read, answered on its own planes, and written as SEG and SR or as label files.

File names are UIDs that depend on the images, the bundle and the settings alone, so that a study is not segmented twice, by whichever
run, and a retry makes the same objects. Nothing of a header but codes, numbers and UIDs reaches messages, reports or names.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_dis.bundle.metadata import BundleMetadata
from monai_dis.data.image_files import image_suffix
from monai_dis.dicom.inspection import Inspection, inspect
from monai_dis.dicom.instance import is_dicom_file
from monai_dis.dicom.loaded_study import LoadedStudy, load_study, volume_of
from monai_dis.dicom.predicting import VolumeAnswer, predict_volume
from monai_dis.dicom.presentation import Presentation
from monai_dis.dicom.result_files import ResultFormat, ResultWriter
from monai_dis.dicom.sources import is_archive
from monai_dis.dicom.studies import StudyFiles, find_studies
from monai_dis.dicom.target import Target
from monai_dis.dicom.uids import ResultIdentity
from monai_dis.dicom.volume_plan import VolumePlan
from monai_dis.errors import BundleError, DisError
from monai_dis.pipeline.figures import figures
from monai_dis.pipeline.find import Search
from monai_dis.pipeline.fingerprint import content_of, settings_digest
from monai_dis.pipeline.options import Options
from monai_dis.pipeline.predict import Stopwatch
from monai_dis.pipeline.study import Entry, Job, Opened, RefusedError, Study

__all__ = ["DICOM", "DicomStudy"]


@dataclass(frozen=True)
class _Loaded:
    """A study that was read, and what its results are called."""

    study: LoadedStudy = field(repr=False)
    identity: ResultIdentity


@dataclass(frozen=True)
class _Answered:
    """The answer for a study, with what writing it needs."""

    loaded: _Loaded
    answer: VolumeAnswer = field(repr=False)


@dataclass(frozen=True)
class DicomStudy:
    """One DICOM study.

    Attributes:
        files: where it is.
    """

    files: StudyFiles
    kind: str = "dicom"

    @property
    def given(self) -> Path:
        """See `Study`: names below what the user gave may be a person's, and are not shown."""
        return self.files.given

    @property
    def place(self) -> str:
        """See `Study`: what was given, and which of its studies this is."""
        if not self.files.place:
            return str(self.files.given)
        paths = "\0".join(sorted(str(path.parent) for path in self.files.paths))
        return f"{self.files.given}#{self.files.uid or hashlib.sha256(paths.encode(errors='surrogateescape')).hexdigest()[:16]}"

    @property
    def label(self) -> str:
        """See `Study`."""
        return self.files.label

    @property
    def wanted_stem(self) -> str:
        """See `Study`: the images, the bundle and the settings name the results."""
        return ""

    @property
    def resumes(self) -> bool:
        """See `Study`."""
        return False

    @contextmanager
    def opened(self, job: Job) -> Iterator[Opened]:
        """Inspect the study."""
        since, options = time.perf_counter(), job.options
        metadata, target = _dicom_bundle(job.model.metadata)
        entry: Entry = {}
        with inspect(
            self.files.paths, target, limits=options.limits, policies=options.policies, selection=options.selection
        ) as found:
            entry["verdict"] = found.verdict.value
            entry["findings"] = [each.to_dict() for each in found.findings]
            try:
                opened = self._identified(found, entry, job, metadata, since)
            except DisError as error:
                raise RefusedError(str(error), entry) from error
            yield opened

    def _identified(self, found: Inspection, entry: Entry, job: Job, metadata: BundleMetadata, since: float) -> Opened:
        plan, options = volume_of(found), job.options
        settings = {**job.model.settings, **options.described(), "statement": _presentation(options).statement}
        identity = ResultIdentity(
            sources=tuple(instance.uid for instance in plan.instances),
            bundle=metadata.name,
            version=metadata.version,
            weights=str(job.model.settings["weights"]),
            settings=settings_digest(settings),
        )
        entry["sop_instance_uid"] = identity.uid("seg", "instance")

        def load(watch: Stopwatch) -> _Loaded:
            loaded = load_study(plan, found, options.limits, since)
            watch.seconds["read"] = watch.seconds.get("read", 0.0) + loaded.seconds
            return _Loaded(loaded, identity)

        return Opened(_content(plan), settings, load, stem=entry["sop_instance_uid"], entry=entry)

    def answer(self, loaded: _Loaded, job: Job, watch: Stopwatch, stem: str, folder: Path) -> _Answered:
        """Run the network on the volume, or on slice after slice."""
        _, target = _dicom_bundle(job.model.metadata)
        answer = predict_volume(
            loaded.study, job.model.predictor, target.spatial_dims, uncertainty=job.options.uncertainty
        )
        return _Answered(loaded, answer)

    def write(self, answer: _Answered, job: Job, watch: Stopwatch, stem: str, folder: Path) -> Entry:
        """Write SEG and SR, or label files, and a picture where one may be made."""
        metadata, _ = _dicom_bundle(job.model.metadata)
        assert metadata.dicom is not None
        writer = ResultWriter(
            metadata.dicom, ResultFormat(job.options.format or ResultFormat.SEG), _presentation(job.options)
        )
        study, prediction = answer.loaded.study, answer.answer.prediction
        seconds = prediction.watch
        for stage, spent in watch.seconds.items():
            seconds.seconds[stage] = seconds.seconds.get(stage, 0.0) + spent
        with seconds.stage("write"):
            entry = writer.write(answer.answer, study, answer.loaded.identity, folder)
        if study.may_be_shown:
            with seconds.stage("overlay"):
                entry["overlay"] = str(writer.picture(prediction, folder / f"{stem}_overlay.png"))
        return {**entry, **figures(prediction, Path("volume"))}

    def explain(self, error: Exception) -> str:
        """See `Study`: what was raised may quote a header, so neither its message nor its traceback is shown."""
        return f"the DICOM volume could not be segmented ({type(error).__name__}); please report it."


def _dicom_bundle(metadata: BundleMetadata | None) -> tuple[BundleMetadata, Target]:
    """The metadata of a bundle for DICOM, and what it takes.

    Raises:
        BundleError: when the bundle is not for DICOM.
    """
    target = None if metadata is None else Target.of_bundle(metadata)
    if metadata is None or target is None:
        name = "" if metadata is None else f" {metadata.name}"
        raise BundleError(
            f"the bundle{name} says nothing about DICOM; its metadata need a dicom entry with modalities and codes."
        )
    return metadata, target


def _presentation(options: Options) -> Presentation:
    return Presentation() if options.statement is None else Presentation(statement=options.statement)


def _content(plan: VolumePlan) -> str:
    """Of the files that make the volume, by their UIDs: the same in a folder, an archive, and under any names."""
    return content_of((instance.uid, instance.path) for instance in plan.instances)


class _Dicom:
    name = "dicom"

    def takes_folder(self, folder: Path) -> bool:
        """Folders are searched for files: other things may lie beside DICOM."""
        return False

    def find(self, search: Search) -> Sequence[Study]:
        """The studies of files that are DICOM, and archives where nothing else is to be segmented."""
        given, limits = search.given, search.options.limits
        if search.named:
            file = search.files[0]
            if not (is_dicom_file(file) or (not image_suffix(file) and is_archive(file))):
                return []
            search.claim([file])
            return [DicomStudy(StudyFiles(given, (given,)))]
        images = [file for file in search.files if image_suffix(file)]
        ours = [file for file in search.files if is_dicom_file(file)]
        archives = [] if ours or images else [file for file in search.files if is_archive(file)]
        if not ours and not archives:
            return []
        others = set(images).difference(ours)
        found = find_studies(given, limits, leave_out=search.output, others=others)
        search.claim([file for file in search.files if file not in others])
        return [DicomStudy(each) for each in found]


DICOM: Any = _Dicom()
