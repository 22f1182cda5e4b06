"""The files of one study's result: SEG and SR, or label files; its uncertainty; a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_dis.bundle.dicom_metadata import DicomEntry
from monai_dis.data.atomic import atomic_path
from monai_dis.data.coordinates import swap_ras_lps
from monai_dis.data.nifti_output import write_nifti
from monai_dis.dicom.found_objects import objects_of_volume
from monai_dis.dicom.label_files import file_labels, mask_of, nifti_comment, segment_records, stored_values
from monai_dis.dicom.loaded_study import LoadedStudy
from monai_dis.dicom.predicting import VolumeAnswer
from monai_dis.dicom.presentation import Presentation
from monai_dis.dicom.seg import SegKind, make_seg
from monai_dis.dicom.seg_nrrd import write_seg_nrrd
from monai_dis.dicom.sr import make_sr, segment_volumes_ml
from monai_dis.dicom.uids import ResultIdentity
from monai_dis.dicom.uncertainty_seg import make_uncertainty_seg
from monai_dis.dicom.writing import write_object
from monai_dis.errors import DicomError
from monai_dis.pipeline.image_study import SMALLEST_PICTURE
from monai_dis.pipeline.objects import Objects
from monai_dis.pipeline.predict import Prediction

__all__ = ["ResultFormat", "ResultWriter"]

Entry = dict[str, Any]


class ResultFormat(str, Enum):
    """What is written for a DICOM study.

    Attributes:
        SEG: a binary DICOM SEG, and an SR with the volumes; of a photograph, which has none, the SEG alone.
        LABELMAP: the same with a SEG of the label map kind.
        NIFTI: NIfTI of the class indices on the source grid, with a JSON file of labels, codes and volumes; classes that overlap
            lie along its fourth axis.
        NRRD: the same as ``.seg.nrrd`` of 3D Slicer, where classes that overlap lie in layers.
    """

    SEG = "seg"
    LABELMAP = "labelmap"
    NIFTI = "nifti"
    NRRD = "nrrd"


@dataclass(frozen=True)
class ResultWriter:
    """Writes results of one bundle.

    Attributes:
        entry: codes of the bundle's classes.
        format: of the results.
        presentation: descriptions and series numbers.
    """

    entry: DicomEntry
    format: ResultFormat
    presentation: Presentation = field(default_factory=Presentation)

    def write(self, answer: VolumeAnswer, loaded: LoadedStudy, identity: ResultIdentity, folder: Path) -> Entry:
        """Write the files of a result, the report last.

        Returns:
            paths, and figures of each segment.

        Raises:
            OutputError: when a file cannot be written.
            DicomError: when the labels do not fit what is to be written.
        """
        labels, plan = answer.labels, loaded.plan
        # A photograph has no depth, and often pixels of unknown size.
        volumes = {} if plan.photograph else segment_volumes_ml(labels, plan.affine_lps, self.entry)
        objects = objects_of_volume(answer, loaded, self.entry)
        result: Entry = {"segments": self._segments(labels, volumes), **objects.to_dict()}
        if plan.missing:
            result["not_assessed_slices"] = list(plan.missing)
        if self.format in (ResultFormat.NIFTI, ResultFormat.NRRD):
            return {**result, **self._label_files(answer, loaded, folder / identity.uid("seg", "instance"), result)}
        if not labels.any() and self.entry.empty == "omit":
            return {**result, "output": None}
        return {**result, **self._objects(answer, loaded, identity, folder, volumes, objects)}

    def picture(self, prediction: Prediction, path: Path) -> Path:
        """Draw the result over the image."""
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
            picture.save(temporary, compress_level=3)  # a third of the time of the default for a tenth more bytes
        return path.absolute()

    def _objects(
        self,
        answer: VolumeAnswer,
        loaded: LoadedStudy,
        identity: ResultIdentity,
        folder: Path,
        volumes: Mapping[int, float],
        objects: Objects,
    ) -> Entry:
        presentation = replace(self.presentation, relaxed=loaded.relaxed)
        kind = SegKind.LABELMAP if self.format is ResultFormat.LABELMAP else SegKind.BINARY
        stem, source = identity.uid("seg", "instance"), loaded.source
        paths = {"output": folder / f"{stem}.seg.dcm"}
        seg = make_seg(answer.labels, loaded.plan, source, self.entry, identity, kind=kind, presentation=presentation)
        write_object(seg, paths["output"])
        others = []
        if answer.uncertainty is not None:
            uncertain = make_uncertainty_seg(
                answer.refined, answer.uncertainty, loaded.plan, source, identity, presentation
            )
            paths["uncertainty"] = folder / f"{stem}.uncertainty.dcm"
            write_object(uncertain, paths["uncertainty"])
            others.append(uncertain)
        if loaded.plan.photograph:
            return {key: str(path.absolute()) for key, path in paths.items()}
        report = make_sr(
            seg, volumes, loaded.plan, source, self.entry, identity, presentation, others=others, objects=objects.found
        )
        paths["sr"] = folder / f"{stem}.sr.dcm"
        write_object(report, paths["sr"])  # last: where there is a report, there is what it refers to
        return {key: str(path.absolute()) for key, path in paths.items()}

    def _label_files(self, answer: VolumeAnswer, loaded: LoadedStudy, stem: Path, result: Entry) -> Entry:
        if loaded.plan.photograph:
            raise DicomError("a photograph has no place in space, which label files need; choose --format seg.")
        labels, affine, segments = file_labels(answer.labels), loaded.plan.affine_lps, self.entry.segments
        if self.format is ResultFormat.NRRD:
            output = stem.with_name(f"{stem.name}.seg.nrrd")
            write_seg_nrrd(labels, affine, output, segments)
        else:
            output = stem.with_name(f"{stem.name}.nii.gz")
            comment = nifti_comment(labels, segments)
            write_nifti(stored_values(labels), swap_ras_lps(affine), output, units="mm", comment=comment)
        paths = {"output": output, "labels": stem.with_name(f"{stem.name}.json")}
        if answer.uncertainty is not None:
            paths["uncertainty"] = stem.with_name(f"{stem.name}_uncertainty.nii.gz")
            write_nifti(answer.uncertainty, swap_ras_lps(affine), paths["uncertainty"], units="mm")
        figures = [
            {**measured, **record} for measured, record in zip(result["segments"], segment_records(labels, segments), strict=True)
        ]  # fmt: skip
        with atomic_path(paths["labels"]) as temporary:
            temporary.write_text(json.dumps({**result, "segments": figures}, indent=2) + "\n", encoding="utf-8")
        return {key: str(path.absolute()) for key, path in paths.items()}

    def _segments(self, labels: npt.NDArray[Any], volumes: Mapping[int, float]) -> list[Entry]:
        entries = []
        for number, segment in self.entry.segments.items():
            inside = mask_of(labels, number)
            entries.append(
                {
                    "number": number,
                    "label": segment.label,
                    "voxels": int(np.count_nonzero(inside)),
                    **({"volume_ml": round(volumes[number], 6)} if volumes else {}),
                    "touches_border": _touches_border(inside),
                }
            )
        return entries


def _touches_border(inside: npt.NDArray[np.bool_]) -> bool:
    """Whether a structure reaches the edge of the images, so that it may go on outside."""
    return any(bool(np.take(inside, index, axis=axis).any()) for axis in range(inside.ndim) for index in (0, -1))
