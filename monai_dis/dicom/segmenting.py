"""Segment DICOM studies with a bundle, one or a cohort: inspect, read, predict, and write SEG and SR on the source's planes.

The weights are loaded once; while one study is in the network, the next is read and the last is written. File names are UIDs that
depend on the images, the bundle and the settings alone, so that a study is not segmented twice, by whichever run, and a retry
makes the same objects. Nothing of a header but codes, numbers and UIDs reaches messages, reports or names.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_dis.bundle.metadata import BundleMetadata
from monai_dis.dicom.findings import Policy
from monai_dis.dicom.inspection import inspect
from monai_dis.dicom.limits import Limits
from monai_dis.dicom.loaded_study import LoadedStudy, load_study, volume_of
from monai_dis.dicom.predicting import VolumeAnswer, predict_volume
from monai_dis.dicom.presentation import Presentation
from monai_dis.dicom.result_files import ResultFormat, ResultWriter, finished_result, record_result
from monai_dis.dicom.studies import Study, find_studies, in_shard
from monai_dis.dicom.target import Target
from monai_dis.dicom.uids import ResultIdentity
from monai_dis.dicom.volume_plan import VolumePlan
from monai_dis.engines.output_folder import prepare_folder, remove_leftovers
from monai_dis.engines.overlapping import overlapped
from monai_dis.engines.run_report import RunReport, Shard, report_name, settings_digest
from monai_dis.engines.segment import Segmenter, figures
from monai_dis.errors import BundleError, DicomError, DisError, OutputError

__all__ = ["DicomSegmenter", "DicomSettings", "ResultFormat"]

logger = logging.getLogger(__name__)

Entry = dict[str, Any]
_REPORT_SHARE = 20  # a long report is rewritten so seldom that it takes a twentieth of the time at most


@dataclass(frozen=True)
class DicomSettings:
    """How DICOM inputs are taken and results written.

    Attributes:
        format: of the results.
        limits: on sizes of inputs.
        policies: a site's changes of policy.
        selection: values that choose one of several volumes or series.
        presentation: descriptions and series numbers.
        uncertainty: also write what was refined and what stays uncertain.
        shard: ``(i, n)`` to do the i-th of n shares of the studies, beside other processes.
    """

    format: ResultFormat = ResultFormat.SEG
    limits: Limits = field(default_factory=Limits)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    selection: Mapping[str, str] = field(default_factory=dict)
    presentation: Presentation = field(default_factory=Presentation)
    uncertainty: bool = False
    shard: Shard | None = None


@dataclass
class _OnItsWay:
    """A study between reading and writing; ``loaded`` and ``answer`` are None when there is nothing more to do."""

    entry: Entry
    identity: ResultIdentity | None = None
    loaded: LoadedStudy | None = None
    answer: VolumeAnswer | None = None
    again: bool = False


class DicomSegmenter:
    """What ``monai-dis segment`` runs for DICOM inputs.

    Args:
        segmenter: made from the bundle's ``inference`` config; its images are not used.
        metadata: of the bundle, with a ``dicom`` entry.
        settings: how inputs are taken and results written.

    Raises:
        BundleError: when the bundle is not for DICOM.
    """

    def __init__(self, segmenter: Segmenter, metadata: BundleMetadata, settings: DicomSettings | None = None) -> None:
        target = Target.of_bundle(metadata)
        if metadata.dicom is None or target is None:
            raise BundleError(
                f"the bundle {metadata.name} says nothing about DICOM; its metadata need a dicom entry with modalities and codes."
            )
        self.segmenter = segmenter
        self.metadata = metadata
        self.target = target
        self.settings = settings or DicomSettings()
        self.writer = ResultWriter(metadata.dicom, self.settings.format, self.settings.presentation)
        self.on_image: Callable[[int, int, Entry], None] | None = None
        #: What results depend on besides the images, in plain JSON types.
        self.result_settings: Mapping[str, Any] = {**segmenter.settings, **self._own_settings()}
        self._digest = settings_digest(self.result_settings)
        self._begun: set[str] = set()
        self._done: dict[str, Entry] = {}

    def run(self, inputs: Sequence[str | Path], *, before: Sequence[Entry] = ()) -> dict[str, Any]:
        """Segment studies; one that is rejected does not stop the others.

        Args:
            inputs: each a folder, file, DICOMDIR or archive with one study, or a tree of studies in folders of their own.
            before: entries of images that this run segmented already, for the report.

        Returns:
            the content of ``report.json``.

        Raises:
            OutputError: when the output folder cannot be written.
            DicomError: at the end, when studies were rejected or failed; their entries in the report say why.
        """
        folder = prepare_folder(self.segmenter.output_dir)
        if self.settings.shard is None:
            remove_leftovers(folder)  # with shares they may be files that another process is writing
        report = RunReport.open(folder, self.result_settings, report_name(self.settings.shard))
        report.images.extend(before)
        report.earlier = [old for old in report.earlier if old["source"] not in [each["source"] for each in before]]
        self._begun, self._done = set(), {}
        self.segmenter.predictor.keep_uncertainty = self.settings.uncertainty
        studies = self._studies(inputs, folder)
        due = 0.0
        steps = overlapped(
            studies,
            lambda study: self._read(study, folder),
            lambda _, going: self._work(going),
            lambda _, going: self._write(going, folder),
        )
        for number, (study, entry) in enumerate(zip(studies, steps, strict=True), start=1):
            report.add(study.given, entry.get("sop_instance_uid", ""), entry, write=False)
            if (start := time.monotonic()) >= due:
                report.write()
                due = time.monotonic() + _REPORT_SHARE * (time.monotonic() - start)
            if self.on_image is not None:
                self.on_image(number, len(studies), entry)
        report.write()
        failed = [entry["error"] for entry in report.images if "error" in entry]
        if failed:
            raise DicomError(
                failed[0]
                if len(report.images) == 1
                else f"{len(failed)} of {len(report.images)} inputs failed:\n  " + "\n  ".join(failed)
            )
        return report.to_dict()

    def segment(self, study: Study, folder: Path) -> Entry:
        """Segment one study, unless its result is there; what goes wrong with it is in the entry.

        Args:
            study: of `monai_dis.dicom.studies.find_studies`.
            folder: of the results, which is there.

        Returns:
            its entry of the report.

        Raises:
            OutputError: when the folder cannot be written.
        """
        self._begun, self._done = set(), {}
        self.segmenter.predictor.keep_uncertainty = self.settings.uncertainty
        return self._write(self._work(self._read(study, folder)), folder)

    def predict(self, study: Study) -> VolumeAnswer:
        """The answer for one study, which is not written.

        Raises:
            DisError: when it cannot be segmented.
        """
        limits, since = self.settings.limits, time.perf_counter()
        with inspect(
            study.paths, self.target, limits=limits, policies=self.settings.policies, selection=self.settings.selection
        ) as found:
            loaded = load_study(volume_of(found), found, limits, since)
        return predict_volume(loaded, self.segmenter.predictor, self.target.spatial_dims)

    def _studies(self, inputs: Sequence[str | Path], folder: Path) -> list[Study]:
        paths = [Path(each).expanduser() for each in inputs]
        found = [study for path in paths for study in find_studies(path, self.settings.limits, leave_out=folder)]
        return in_shard(found, self.settings.shard)

    def _own_settings(self) -> dict[str, Any]:
        own: dict[str, Any] = {
            "format": self.settings.format.value,
            "policies": {code: policy.value for code, policy in sorted(self.settings.policies.items())},
            "statement": self.settings.presentation.statement,
        }
        if self.settings.uncertainty:
            own["uncertainty"] = True
        return own

    def _read(self, study: Study, folder: Path) -> _OnItsWay:
        """Inspect a study, and read it unless its result is there."""
        entry: Entry = {"input": str(study.given), "mode": self.segmenter.mode}
        if study.place:
            entry["study"] = study.label
        going = _OnItsWay(entry)
        since = time.perf_counter()
        with (
            _kept_in(entry),
            inspect(
                study.paths,
                self.target,
                limits=self.settings.limits,
                policies=self.settings.policies,
                selection=self.settings.selection,
            ) as found,
        ):
            entry["verdict"] = found.verdict.value
            entry["findings"] = [each.to_dict() for each in found.findings]
            plan = volume_of(found)
            going.identity = self._identity(plan)
            uid = going.identity.uid("seg", "instance")
            entry["sop_instance_uid"] = uid
            going.again = uid in self._begun
            if not going.again:
                self._begun.add(uid)
                earlier = None if self.segmenter.overwrite else finished_result(uid, folder)
                if earlier is not None:
                    entry.update({**earlier, **entry, "kept": True})
                else:
                    going.loaded = load_study(plan, found, self.settings.limits, since)
        return going

    def _identity(self, plan: VolumePlan) -> ResultIdentity:
        return ResultIdentity(
            sources=tuple(instance.uid for instance in plan.instances),
            bundle=self.metadata.name,
            version=self.metadata.version,
            weights=str(self.segmenter.settings["weights"]),
            settings=self._digest,
        )

    def _work(self, going: _OnItsWay) -> _OnItsWay:
        if going.loaded is not None:
            with _kept_in(going.entry):
                going.answer = predict_volume(going.loaded, self.segmenter.predictor, self.target.spatial_dims)
        return going

    def _write(self, going: _OnItsWay, folder: Path) -> Entry:
        """Write a result; returns the entry of the report."""
        entry, identity = going.entry, going.identity
        if identity is None:
            return entry
        uid = identity.uid("seg", "instance")
        if going.again:
            # The same images lie in two places: the second is answered by the first.
            entry.update({**self._done[uid], **entry, "kept": True})
            return entry
        if going.loaded is not None and going.answer is not None:
            with _kept_in(entry), _writable():
                self._write_answer(going.loaded, going.answer, identity, entry, folder)
        self._done[uid] = {key: value for key, value in entry.items() if key not in ("input", "study")}
        return entry

    def _write_answer(
        self, loaded: LoadedStudy, answer: VolumeAnswer, identity: ResultIdentity, entry: Entry, folder: Path
    ) -> None:
        uid, prediction = identity.uid("seg", "instance"), answer.prediction
        watch = prediction.watch
        watch.seconds["read"] = watch.seconds.get("read", 0.0) + loaded.seconds
        with watch.stage("write"):
            entry.update(self.writer.write(answer, loaded, identity, folder))
        if loaded.may_be_shown:
            with watch.stage("overlay"):
                entry["overlay"] = str(self.writer.picture(prediction, folder / f"{uid}_overlay.png"))
        entry.update(figures(prediction, Path("volume")))
        record_result({key: value for key, value in entry.items() if key not in ("input", "study")}, uid, folder)


@contextmanager
def _kept_in(entry: Entry) -> Iterator[None]:
    """Enter what goes wrong with one study, so that it does not stop the others."""
    try:
        yield
    except OutputError:
        raise  # the next study would meet the same full or forbidden folder
    except DisError as error:
        entry.update(error=_named(entry, str(error)), refused=True)
    except Exception as error:  # one strange study must not cost a night's work
        # What is raised may quote a header, so neither its message nor its traceback is kept.
        logger.debug("unexpected %s in a DICOM study", type(error).__name__)
        sentence = f"the DICOM volume could not be segmented ({type(error).__name__}); please report it."
        entry["error"] = _named(entry, sentence)


@contextmanager
def _writable() -> Iterator[None]:
    """Say in a sentence that a file of a result cannot be written."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise OutputError(f"a result cannot be written ({reason}); make room or choose another folder.") from error


def _named(entry: Entry, sentence: str) -> str:
    return f"{entry['study']}: {sentence}" if "study" in entry else sentence
