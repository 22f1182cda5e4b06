"""Image files, pictures and volumes: a segmentation in the image's own format and on its own grid, and a picture of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from monai_dis.checks.header import check_header
from monai_dis.data.atomic import atomic_path
from monai_dis.data.image_files import PICTURE_SUFFIXES, image_stem, image_suffix, segmentation_suffix
from monai_dis.data.images import check_readable
from monai_dis.data.writing import write_segmentation
from monai_dis.pipeline.figures import figures
from monai_dis.pipeline.file_study import FileStudy
from monai_dis.pipeline.find import Search
from monai_dis.pipeline.fingerprint import content_of
from monai_dis.pipeline.naming import mask_name
from monai_dis.pipeline.objects import objects_of
from monai_dis.pipeline.predict import Prediction, Prepared, Stopwatch
from monai_dis.pipeline.study import Entry, Job, Opened, SkippedError, Study

__all__ = ["IMAGES", "SMALLEST_PICTURE", "ImageStudy"]

SMALLEST_PICTURE = 640  # pixels: an overlay's lines and legend cannot be read on less


@dataclass(frozen=True)
class ImageStudy(FileStudy):
    """One image file.

    Attributes:
        beside_dicom: whether it was found in a folder with DICOM, where pictures may be anything.
    """

    beside_dicom: bool = False
    kind: str = "image"

    @property
    def wanted_stem(self) -> str:
        """See `Study`."""
        return image_stem(self.file)

    @property
    def resumes(self) -> bool:
        """See `Study`."""
        return False

    @contextmanager
    def opened(self, job: Job) -> Iterator[Opened]:
        """Check the file's header."""
        model, options = job.model, job.options
        picture = image_suffix(self.file) in PICTURE_SUFFIXES
        if self.beside_dicom and picture and model.predictor.expected.spatial_dims == 3:
            raise SkippedError(f"{self.file} is a picture beside a DICOM study, and the bundle takes volumes.")
        check_readable(self.file)
        said = model.metadata
        channels, smallest = (None, None) if said is None else (said.input_channels, said.smallest_mm)
        entry = check_header(self.file, options.limits, options.policies, channels, smallest)
        policies = {code: policy.value for code, policy in sorted(options.policies.items())}
        told = {
            **({"policies": policies} if policies else {}),
            **({"uncertainty": True} if options.uncertainty else {}),
        }
        yield Opened(
            content_of([("image", self.file)]),
            {**model.settings, **told},
            lambda watch: model.predictor.prepare(self.file, None, watch),
            entry=entry,
        )

    def answer(self, loaded: Prepared, job: Job, watch: Stopwatch, stem: str, folder: Path) -> Prediction:
        """Run the network and bring its answer back to the grid of the file."""
        return job.model.predictor.answer(loaded, watch, job.memory, uncertainty=job.options.uncertainty)

    def write(self, answer: Prediction, job: Job, watch: Stopwatch, stem: str, folder: Path) -> Entry:
        """Write the segmentation, a mask for each of several overlapping classes, and the overlay."""
        from monai_dis.reports.picture import result_picture

        output = folder / f"{stem}_seg{segmentation_suffix(self.file)}"
        overlay = folder / f"{stem}_overlay.png"
        labels = answer.label_map()
        with watch.stage("write"):
            write_segmentation(labels[None], answer.image, output)
            masks = self._write_masks(answer, job, output)
        with watch.stage("overlay"):
            picture = result_picture(
                answer.image.as_tensor().cpu().numpy(),
                labels.numpy(),
                answer.boxes,
                answer.image.affine.double().cpu().numpy(),
                class_names=dict(job.model.classes),
                min_side=SMALLEST_PICTURE,
            )
            with atomic_path(overlay) as temporary:
                picture.save(temporary, compress_level=3)  # a third of the time of the default for a tenth more bytes
        with watch.stage("objects"):
            objects = objects_of(answer, job.model.classes, picture=image_suffix(self.file) in PICTURE_SUFFIXES)
        entry: Entry = {"output": str(output), "overlay": str(overlay), **({"masks": masks} if masks else {})}
        return {**entry, **objects.to_dict(), **figures(answer, self.file)}

    def _write_masks(self, answer: Prediction, job: Job, output: Path) -> dict[str, str]:
        """A mask for each of several overlapping classes, which one file of class indices cannot hold, by the name of the class."""
        if answer.labels.shape[0] == 1:
            return {}
        written, suffix = {}, segmentation_suffix(output)
        for index, mask in enumerate(answer.class_masks(), start=1):
            name = job.model.classes.get(index, f"class {index}")
            path = output.with_name(mask_name(output.name.removesuffix(suffix), index, name, suffix))
            write_segmentation(mask[None].to(torch.uint8), answer.image, path)
            written[name] = str(path)
        return written


class _Images:
    name = "image"

    def takes_folder(self, folder: Path) -> bool:
        """No image is a folder."""
        return False

    def find(self, search: Search) -> Sequence[Study]:
        """Every file with the suffix of an image."""
        files = [file for file in search.files if image_suffix(file)]
        search.claim(files)
        beside = any(study.kind == "dicom" for study in search.found) and not search.named
        return [ImageStudy(file, beside) for file in files]


IMAGES = _Images()
