"""Segment DICOM studies with a bundle: inspect, read, predict, and write SEG and SR on the source's planes.

File names are UIDs that depend on the images, the bundle and the settings alone, so that a study is not segmented twice and a
retry makes the same objects. Nothing of a header but codes, numbers and UIDs reaches messages, reports or names.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor

from monai_dis.bundle.dicom_metadata import DicomEntry
from monai_dis.bundle.metadata import BundleMetadata
from monai_dis.data.atomic import atomic_path
from monai_dis.data.writing import write_segmentation
from monai_dis.dicom.findings import CODES, Policy
from monai_dis.dicom.inspection import Inspection, VolumePlan, inspect
from monai_dis.dicom.limits import Limits
from monai_dis.dicom.pixels import read_volume
from monai_dis.dicom.seg import Presentation, SegKind, make_seg
from monai_dis.dicom.source_images import read_first_header
from monai_dis.dicom.sr import make_sr, segment_volumes_ml
from monai_dis.dicom.straighten import Straightening, bend_back, plan_straightening, straighten
from monai_dis.dicom.target import Target
from monai_dis.dicom.uids import ResultIdentity
from monai_dis.dicom.writing import write_object
from monai_dis.engines.output_folder import prepare_folder, remove_leftovers
from monai_dis.engines.prediction import Prediction
from monai_dis.engines.run_report import RunReport, settings_digest
from monai_dis.engines.segment import SMALLEST_PICTURE, Segmenter, figures
from monai_dis.errors import BundleError, DicomError, DisError, OutputError

__all__ = ["DicomSegmenter", "DicomSettings", "ResultFormat"]

logger = logging.getLogger(__name__)

Entry = dict[str, Any]
_NAME = Path("the DICOM volume")
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class ResultFormat(str, Enum):
    """What is written for a DICOM study.

    Attributes:
        SEG: a binary DICOM SEG, and an SR with the volumes.
        LABELMAP: the same with a SEG of the label map kind.
        NIFTI: NIfTI of the class indices on the source grid, with a JSON file of labels, codes and volumes.
    """

    SEG = "seg"
    LABELMAP = "labelmap"
    NIFTI = "nifti"


@dataclass(frozen=True)
class DicomSettings:
    """How DICOM inputs are taken and results written.

    Attributes:
        format: of the results.
        limits: on sizes of inputs.
        policies: a site's changes of policy.
        selection: values that choose one of several volumes or series.
        presentation: descriptions and series numbers.
    """

    format: ResultFormat = ResultFormat.SEG
    limits: Limits = field(default_factory=Limits)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    selection: Mapping[str, str] = field(default_factory=dict)
    presentation: Presentation = field(default_factory=Presentation)


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
        self.entry: DicomEntry = metadata.dicom
        self.target = target
        self.settings = settings or DicomSettings()
        self.on_image: Callable[[int, int, Entry], None] | None = None

    def run(self, inputs: Sequence[str | Path]) -> dict[str, Any]:
        """Segment studies one by one; one that is rejected does not stop the others.

        Args:
            inputs: each a folder, file, DICOMDIR or archive with one study.

        Returns:
            the content of ``report.json``.

        Raises:
            OutputError: when the output folder cannot be written.
            DicomError: at the end, when studies were rejected or failed; their entries in the report say why.
        """
        folder = prepare_folder(self.segmenter.output_dir)
        remove_leftovers(folder)
        report = RunReport.open(folder, {**self.segmenter.settings, **self._own_settings()})
        for number, each in enumerate(inputs, start=1):
            path = Path(each)
            entry = self._segment(path, folder, report)
            report.add(path, entry.get("sop_instance_uid", ""), entry)
            if self.on_image is not None:
                self.on_image(number, len(inputs), entry)
        failed = [entry["error"] for entry in report.images if "error" in entry]
        if failed:
            raise DicomError(
                failed[0]
                if len(inputs) == 1
                else f"{len(failed)} of {len(inputs)} inputs failed:\n  " + "\n  ".join(failed)
            )
        return report.to_dict()

    def _own_settings(self) -> dict[str, Any]:
        return {
            "format": self.settings.format.value,
            "policies": {code: policy.value for code, policy in sorted(self.settings.policies.items())},
            "statement": self.settings.presentation.statement,
        }

    def _segment(self, path: Path, folder: Path, report: RunReport) -> Entry:
        entry: Entry = {"input": str(path), "mode": self.segmenter.mode}
        try:
            options = {
                "limits": self.settings.limits,
                "policies": self.settings.policies,
                "selection": self.settings.selection,
            }
            with inspect(path, self.target, **options) as found:  # type: ignore[arg-type]
                entry["verdict"] = found.verdict.value
                entry["findings"] = [each.to_dict() for each in found.findings]
                found.raise_if_rejected()
                plan = found.volumes[0]
                if not isinstance(plan, VolumePlan):
                    raise DicomError("the input is no DICOM series; give it without --format.")
                self._result(entry, plan, found, folder, report)
        except OutputError:
            raise
        except DisError as error:
            entry["error"] = str(error)
        except Exception as error:  # one strange study must not cost a night's work
            # What is raised may quote a header, so neither its message nor its traceback is kept.
            logger.debug("unexpected %s in a DICOM study", type(error).__name__)
            entry["error"] = f"the DICOM volume could not be segmented ({type(error).__name__}); please report it."
        return entry

    def _result(self, entry: Entry, plan: VolumePlan, found: Inspection, folder: Path, report: RunReport) -> None:
        identity = ResultIdentity(
            sources=tuple(instance.uid for instance in plan.instances),
            bundle=self.metadata.name,
            version=self.metadata.version,
            weights=str(self.segmenter.settings["weights"]),
            settings=settings_digest(report.settings),
        )
        uid = identity.uid("seg", "instance")
        entry["sop_instance_uid"] = uid
        earlier = None if self.segmenter.overwrite else _finished(report, uid, folder)
        if earlier is not None:
            entry.update({**earlier, "input": entry["input"], "kept": True})
            return
        labels, prediction = self._predict(plan)
        with prediction.watch.stage("write"):
            entry.update(self._write(labels, plan, identity, folder, found))
        if not any(each.code == "BURNED_IN_ANNOTATION" for each in found.findings):
            with prediction.watch.stage("overlay"):
                entry["overlay"] = str(self._overlay(prediction, folder / f"{uid}_overlay.png"))
        entry.update(figures(prediction, _NAME))

    def _predict(self, plan: VolumePlan) -> tuple[npt.NDArray[Any], Prediction]:
        """Labels on the source grid: (columns, rows, slices), or with a first axis for classes that overlap."""
        values = read_volume(plan, self.settings.limits)
        if self.target.spatial_dims == 2:
            predictions = [
                self.segmenter.predictor(_NAME, _image(values[:, :, index], plan.affine_lps))
                for index in range(values.shape[2])
            ]
            stacked = np.stack([each.labels.numpy() for each in predictions], axis=-1)
            return _labels(stacked), predictions[len(predictions) // 2]
        bent: Straightening | None = None
        affine = plan.affine_lps
        if plan.sheared:
            bent = plan_straightening(affine, plan.shape)
            values, affine = straighten(values, bent), bent.affine_lps
        prediction = self.segmenter.predictor(_NAME, _image(values, affine))
        labels = prediction.labels.numpy()
        return _labels(labels if bent is None else bend_back(labels, bent)), prediction

    def _write(
        self, labels: npt.NDArray[Any], plan: VolumePlan, identity: ResultIdentity, folder: Path, found: Inspection
    ) -> Entry:
        stem = identity.uid("seg", "instance")
        volumes = segment_volumes_ml(labels, plan.affine_lps, self.entry)
        entry: Entry = {"segments": self._segments(labels, volumes)}
        if self.settings.format is ResultFormat.NIFTI:
            return {**entry, **self._write_nifti(labels, plan, folder / f"{stem}.nii.gz", entry["segments"])}
        if not labels.any() and self.entry.empty == "omit":
            return {**entry, "output": None}
        source = read_first_header(plan, self.settings.limits)
        presentation = replace(self.settings.presentation, relaxed=_relaxed(found))
        kind = SegKind.LABELMAP if self.settings.format is ResultFormat.LABELMAP else SegKind.BINARY
        seg = make_seg(labels, plan, source, self.entry, identity, kind=kind, presentation=presentation)
        sr = make_sr(seg, volumes, plan, source, self.entry, identity, presentation)
        seg_path, sr_path = folder / f"{stem}.seg.dcm", folder / f"{stem}.sr.dcm"
        write_object(seg, seg_path)
        write_object(sr, sr_path)  # last: where there is a report, there is what it refers to
        return {**entry, "output": str(seg_path.absolute()), "sr": str(sr_path.absolute())}

    def _segments(self, labels: npt.NDArray[Any], volumes: Mapping[int, float]) -> list[Entry]:
        entries = []
        for number, segment in self.entry.segments.items():
            inside = labels[number - 1] > 0 if labels.ndim == 4 else labels == number
            entries.append(
                {
                    "number": number,
                    "label": segment.label,
                    "voxels": int(np.count_nonzero(inside)),
                    "volume_ml": round(volumes[number], 6),
                    "touches_border": _touches_border(inside),
                }
            )
        return entries

    def _write_nifti(self, labels: npt.NDArray[Any], plan: VolumePlan, path: Path, segments: list[Entry]) -> Entry:
        flat = labels
        if labels.ndim == 4:
            index = np.arange(1, labels.shape[0] + 1).reshape(-1, 1, 1, 1)
            flat = ((labels > 0) * index).max(axis=0)
        reference = _image(np.zeros(plan.shape, dtype=np.float32), plan.affine_lps)
        write_segmentation(torch.as_tensor(flat.astype(np.int64))[None], reference, path)
        names = path.with_name(path.name.removesuffix(".nii.gz") + ".json")
        coded = [
            {
                **segment,
                "type": vars(self.entry.segments[segment["number"]].type),
                "color": self._color(segment["number"]),
            }
            for segment in segments
        ]
        with atomic_path(names) as temporary:
            temporary.write_text(json.dumps({"segments": coded}, indent=2) + "\n", encoding="utf-8")
        return {"output": str(path.absolute()), "labels": str(names.absolute())}

    def _color(self, number: int) -> list[int]:
        from monai_dis.reports.palette import class_color

        return list(self.entry.segments[number].color or class_color(number))

    def _overlay(self, prediction: Prediction, path: Path) -> Path:
        from monai_dis.reports.picture import result_picture

        picture = result_picture(
            prediction.image.as_tensor().cpu().numpy(),
            prediction.label_map().numpy(),
            prediction.boxes,
            prediction.image.affine.double().cpu().numpy(),
            class_names={number: segment.label for number, segment in self.entry.segments.items()},
            min_side=SMALLEST_PICTURE,
        )
        with atomic_path(path) as temporary:
            picture.save(temporary)
        return path.absolute()


def _image(values: npt.NDArray[np.float32], affine_lps: npt.NDArray[np.float64]) -> MetaTensor:
    """A volume or slice as MONAI's readers give it: (1, columns, rows[, slices]), affine to RAS."""
    affine = torch.as_tensor(_RAS_FROM_LPS @ affine_lps)
    meta = {
        "spatial_shape": np.asarray(values.shape),
        "original_affine": affine.numpy(),
        "filename_or_obj": str(_NAME),
        "space": "RAS",
    }
    return MetaTensor(torch.as_tensor(np.ascontiguousarray(values))[None], affine=affine, meta=meta)


def _labels(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Class indices, or 0 and 1 for each of several classes that overlap."""
    whole: npt.NDArray[Any] = np.rint(labels).astype(np.int64)
    return whole[0] if whole.shape[0] == 1 else (whole > 0).astype(np.uint8)


def _relaxed(found: Inspection) -> tuple[str, ...]:
    own = {each.code for each in found.findings if each.policy.strictness < CODES[each.code].strictness}
    return tuple(sorted(own - {"ORIENTATION_MIXED", "VOLUME_MULTIPLE"}))


def _touches_border(inside: npt.NDArray[np.bool_]) -> bool:
    """Whether a structure reaches the edge of the images, so that it may go on outside."""
    return any(bool(np.take(inside, index, axis=axis).any()) for axis in range(inside.ndim) for index in (0, -1))


def _finished(report: RunReport, uid: str, folder: Path) -> Entry | None:
    """The earlier entry with this result, if its files are still there."""
    for entry in report.earlier:
        files = [Path(entry[key]).name for key in ("output", "sr") if entry.get(key)]
        if entry.get("sop_instance_uid") == uid and all((folder / name).is_file() for name in files):
            return {key: value for key, value in entry.items() if key != "source"}
    return None
