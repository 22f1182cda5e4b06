"""A slide: an image of any size, segmented from its file to label images, outlines and a picture, in bounded memory.

Letters in shapes: ``C`` classes, ``X`` columns, ``Y`` rows.
"""

from __future__ import annotations

import glob
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import AsDiscreted
from numpy.typing import NDArray

from monai_dis.checks.findings import Finding, Policy, apply_policy, merged, verdict
from monai_dis.checks.header import turned_picture
from monai_dis.data.atomic import atomic_path
from monai_dis.data.image_files import image_suffix
from monai_dis.errors import ImageError
from monai_dis.inferers.result import IterativeResult
from monai_dis.pipeline.device import PeakMemory, return_free_memory
from monai_dis.pipeline.figures import run_figures
from monai_dis.pipeline.file_study import FileStudy
from monai_dis.pipeline.find import Search
from monai_dis.pipeline.fingerprint import content_of, settings_digest
from monai_dis.pipeline.image_study import SMALLEST_PICTURE
from monai_dis.pipeline.model import Model
from monai_dis.pipeline.naming import mask_name
from monai_dis.pipeline.network_input import NetworkInput
from monai_dis.pipeline.predict import Stopwatch
from monai_dis.pipeline.study import Entry, Job, Opened, RefusedError, Study
from monai_dis.reports.overlay import Outline, draw_overlay
from monai_dis.reports.picture import colours_of
from monai_dis.runtimes import needs_calibration
from monai_dis.slides.composing import compose_labels
from monai_dis.slides.extra import require
from monai_dis.slides.flaws import finding_of
from monai_dis.slides.geojson import write_outlines
from monai_dis.slides.intensities import Preparation, prepare_by_region
from monai_dis.slides.labels import LabelTiles
from monai_dis.slides.ome_zarr import is_zarr
from monai_dis.slides.opening import count_scenes, is_slide, open_slide, slide_stem
from monai_dis.slides.overview import read_overview
from monai_dis.slides.pyramid import OVERVIEW, Pyramid
from monai_dis.slides.run import SlideRun, run_slide
from monai_dis.slides.scenes import ALL_SCENES
from monai_dis.slides.store import open_work_folder
from monai_dis.slides.tissue import RULE, Tissue, find_tissue

__all__ = ["SLIDES", "SlideStudy"]

_MISSING = "PIXELS_MISSING"  # the code for tiles that cannot be read


@dataclass(frozen=True)
class _Looked:
    """A slide whose overview was read; its identity says what its answer depends on."""

    pyramid: Pyramid
    overview: NDArray[np.generic]
    tissue: Tissue
    prepare: Preparation
    identity: dict[str, str]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class _Answered:
    """The answer for a slide, in files of its work folder."""

    looked: _Looked
    result: IterativeResult
    labels: LabelTiles
    masks: list[LabelTiles]
    work: Path
    about: Entry


@dataclass(frozen=True)
class SlideStudy(FileStudy):
    """One slide, answered piece by piece.

    Its files are a pyramidal label image ``<stem>_seg.ome.tif`` (and a mask for each of several overlapping classes), outlines
    ``<stem>_outlines.geojson`` and the picture ``<stem>_overlay.png``. While it works, ``.slide-<stem>`` in the output folder holds
    what is done; a run that was killed goes on with it. The file is a folder for OME-Zarr.

    Attributes:
        scene: which of several in the file, from 1; None where there is one.
    """

    scene: int | None = None
    kind: str = "slide"

    @property
    def place(self) -> str:
        """See `Study`."""
        return super().place if self.scene is None else f"{super().place}#scene={self.scene}"

    @property
    def label(self) -> str:
        """See `Study`."""
        return super().label if self.scene is None else f"{super().label} (scene {self.scene})"

    @property
    def wanted_stem(self) -> str:
        """See `Study`."""
        return slide_stem(self.file) + ("" if self.scene is None else f"_scene{self.scene}")

    @property
    def resumes(self) -> bool:
        """See `Study`."""
        return True

    @contextmanager
    def opened(self, job: Job) -> Iterator[Opened]:
        """See that the model can answer slides, and which this is."""
        require("tifffile", f"writing the labels of {self.file}")
        _check_model(job.model)
        settings = {**job.model.settings, "tissue": RULE, **({} if self.scene is None else {"scene": self.scene})}
        content = content_of(_files_of(self.file))
        turned = merged(apply_policy(turned_picture(self.file) if self.file.is_file() else [], job.options.policies))
        entry: Entry = {"findings": [each.to_dict() for each in turned]} if turned else {}
        relaxed = {"relaxed": _MISSING} if job.options.policies.get(_MISSING) is Policy.WARN else {}
        identity = {"settings": settings_digest(settings), "content": content}
        yield Opened(
            content, settings, lambda watch: self._look(job, watch, {**identity, **relaxed}, turned), entry=entry
        )

    def _look(self, job: Job, watch: Stopwatch, identity: dict[str, str], found: Sequence[Finding]) -> _Looked:
        predictor = job.model.predictor
        with watch.stage("read"):
            pyramid = open_slide(self.file, self.scene)
            _check_channels(pyramid, predictor.expected)
            findings = merged([*found, *_mended(pyramid, job.options.policies)])
            overview = read_overview(pyramid)
            tissue = find_tissue(overview)
        with watch.stage("prepare"):
            prepare = prepare_by_region(predictor.preprocessing, pyramid, overview, predictor.image_key)
        return _Looked(pyramid, overview, tissue, prepare, identity, findings)

    def answer(self, loaded: _Looked, job: Job, watch: Stopwatch, stem: str, folder: Path) -> _Answered:
        """Run the levels, on from where a killed run left them."""
        model, pyramid = job.model, loaded.pyramid
        work = folder / f".slide-{stem}"
        resumed = open_work_folder(work, loaded.identity)
        run = SlideRun(
            pyramid,
            model.network,
            model.runner.inferer.settings,
            loaded.prepare,
            loaded.tissue,
            work / "levels",
            model.device,
            job.progress,
        )
        run.folder.mkdir(exist_ok=True)
        result = run_slide(run)
        labels, masks = _label_tiles(result, pyramid, work)
        with watch.stage("compose"):
            compose_labels(
                result.mosaic, loaded.tissue, labels, masks, lambda done, total: job.progress("labels", done, total)
            )
        with watch.stage("statistics"):
            statistics = result.statistics.to_dict()
        about = {"statistics": statistics, "slide": _description(run, loaded.prepare, resumed)}
        return _Answered(loaded, result, labels, masks, work, about)

    def write(self, answer: _Answered, job: Job, watch: Stopwatch, stem: str, folder: Path) -> Entry:
        """Write label image, masks, outlines and overlay, and remove what was kept for a later run."""
        names, base, pyramid = dict(job.model.classes), folder / stem, answer.looked.pyramid
        output = base.with_name(f"{stem}_seg.ome.tif")
        outlines = base.with_name(f"{stem}_outlines.geojson")
        overlay = base.with_name(f"{stem}_overlay.png")
        entry: Entry = {"output": str(output), "overlay": str(overlay)}
        if answer.looked.findings:
            entry["findings"] = [each.to_dict() for each in answer.looked.findings]
        written = {}
        with watch.stage("write"):
            for tiles in (answer.labels, *answer.masks):
                tiles.finish()
            answer.labels.save(output, pyramid.spacing_um)
            for index, tiles in enumerate(answer.masks, start=1):
                name = names.get(index, f"class {index}")
                path = base.with_name(mask_name(f"{stem}_seg", index, name, ".ome.tif"))
                tiles.save(path, pyramid.spacing_um)
                written[name] = str(path)
        return_free_memory()
        with watch.stage("outlines"):
            found = write_outlines(outlines, _classes(answer.result, answer.labels, answer.masks), names)
        with watch.stage("overlay"):
            picture = _picture(answer.result, answer.labels, answer.looked.overview, names)
            with atomic_path(overlay) as temporary:
                picture.save(temporary, compress_level=3)
        shutil.rmtree(answer.work)
        entry = {**entry, **({"masks": written} if written else {}), "outlines": str(outlines), **found}
        figures = _figures(answer.about["statistics"], pyramid, watch, job.memory)
        return {**entry, **figures, "slide": answer.about["slide"]}


class _Slides:
    name = "slide"

    def takes_folder(self, folder: Path) -> bool:
        """OME-Zarr is a folder."""
        return is_zarr(folder)

    def find(self, search: Search) -> Sequence[Study]:
        """Slides by their kind and size; every image where all are to be read piece by piece."""
        tiled = search.options.tiled
        found = [
            *search.folders,
            *(f for f in search.files if is_slide(f) or (tiled and (search.named or image_suffix(f)))),
        ]
        scene = search.options.scene
        if scene is not None:  # a small picture with several scenes is none that is read whole
            found += [f for f in search.files if f not in found and count_scenes(f) > 1]
        search.claim(found)
        return [study for path in sorted(found) for study in _scenes_of(path, scene)]


SLIDES = _Slides()


def _scenes_of(path: Path, scene: str | None) -> list[SlideStudy]:
    count = 1 if scene is None else count_scenes(path)
    if scene is None or (count == 1 and scene in (ALL_SCENES, "1")):
        return [SlideStudy(path)]
    return [SlideStudy(path, number) for number in (range(1, count + 1) if scene == ALL_SCENES else [int(scene)])]


def _files_of(slide: Path) -> list[tuple[str, Path]]:
    """The files of a slide under names that stay when it moves: its own, those of its folder, or those beside it that belong to it."""
    if slide.is_dir():
        return [(path.relative_to(slide).as_posix(), path) for path in slide.rglob("*") if path.is_file()]
    files = [("slide", slide)]
    companion = slide.with_suffix("")
    if slide.suffix.lower() == ".mrxs" and companion.is_dir():
        files += [(path.relative_to(companion).as_posix(), path) for path in companion.rglob("*") if path.is_file()]
    elif slide.suffix.lower() in (".vms", ".vmu"):
        files += [(path.name, path) for path in slide.parent.glob(f"{glob.escape(slide.stem)}*") if path != slide]
    return files


def _check_model(model: Model) -> None:
    """See that the model can answer slides.

    Raises:
        ImageError: when its runtime is calibrated on images, or the bundle makes labels in a way of its own.
    """
    if needs_calibration(model.network):
        raise ImageError("the runtime openvino-int8 is calibrated on whole images; choose another runtime for slides.")
    for step in model.predictor.postprocessing.transforms:
        others = [t for t in step.threshold if t not in (None, 0.5)] if isinstance(step, AsDiscreted) else []
        if others:
            raise ImageError(
                "slides are labelled by the likeliest class, or by probabilities above one half, and the bundle's postprocessing has "
                f"the threshold {others[0]}; set it to 0.5."
            )


def _label_tiles(result: IterativeResult, pyramid: Pyramid, work: Path) -> tuple[LabelTiles, list[LabelTiles]]:
    channels, activation = result.mosaic.channels, result.mosaic.activation
    overlapping = channels if activation == "sigmoid" and channels > 1 else 0
    dtype = np.uint8 if channels <= 256 else np.uint16
    labels = LabelTiles(work / "labels", pyramid.size, dtype)
    return labels, [LabelTiles(work / f"mask-{k}", pyramid.size) for k in range(1, overlapping + 1)]


def _mended(pyramid: Pyramid, policies: Mapping[str, Policy]) -> tuple[Finding, ...]:
    """Findings about tiles that cannot be read, which are shown as empty ground from here on.

    Raises:
        RefusedError: unless a site relaxed the code.
    """
    relaxed = policies.get(_MISSING) is Policy.WARN
    lost = pyramid.lost(pyramid.find_flaws(decode=relaxed))
    if not lost:
        return ()
    findings = apply_policy([finding_of(lost)], policies)
    if verdict(findings) is Policy.REJECT:
        sentence = f"{pyramid.path} is cut off or damaged: {findings[0].message}"
        raise RefusedError(sentence, {"findings": [each.to_dict() for each in findings]})
    pyramid.mend(lost)
    return findings


def _check_channels(pyramid: Pyramid, expected: NetworkInput) -> None:
    if expected.spatial_dims not in (None, 2):
        raise ImageError(
            f"{pyramid.path} is a slide, the bundle's network takes {expected.spatial_dims} axes; choose a bundle for pictures."
        )
    if expected.channels is not None and pyramid.channels != expected.channels:
        raise ImageError(
            f"{pyramid.path} has {pyramid.channels} channel{'s' if pyramid.channels != 1 else ''}, the bundle's network takes "
            f"{expected.channels}; convert the slide or choose a bundle made for it."
        )


def _classes(result: IterativeResult, labels: LabelTiles, masks: Sequence[LabelTiles]) -> list[Any]:
    """Class index, label image and which of its labels are that class, for each class but the background."""
    if masks:
        return [(index, tiles, lambda values: values > 0) for index, tiles in enumerate(masks, start=1)]
    count = max(2, result.mosaic.channels)
    return [(index, labels, lambda values, index=index: values == index) for index in range(1, count)]


def _picture(result: IterativeResult, labels: LabelTiles, overview: NDArray[np.generic], names: dict[int, str]) -> Any:
    level = next(k for k, size in enumerate(labels.sizes) if max(size) <= OVERVIEW)
    scale = [small / full for small, full in zip(labels.sizes[level], labels.sizes[0], strict=True)]
    outlines = []
    for window in result.windows:
        left, top = (c * s - 0.5 for c, s in zip(window.corner, scale, strict=True))
        right, bottom = ((c + n) * s - 0.5 for c, n, s in zip(window.corner, window.size, scale, strict=True))
        outlines.append(Outline(window.level, ((top, left), (top, right), (bottom, right), (bottom, left))))
    return draw_overlay(
        colours_of(overview),
        labels.whole(level),
        outlines,
        class_names=names,
        max_side=OVERVIEW,
        min_side=SMALLEST_PICTURE,
    )


def _figures(statistics: dict[str, Any], pyramid: Pyramid, watch: Stopwatch, memory: PeakMemory) -> Entry:
    seconds = {**watch.seconds, **{k: float(v) for k, v in statistics["seconds"].items()}}
    unknown = () if pyramid.spacing_um is not None else ("uncertain_left_mm",)
    return run_figures(
        statistics, seconds, memory.bytes(), {"image": list(pyramid.size), "prepared": list(pyramid.size)}, unknown
    )


def _description(run: SlideRun, prepare: Preparation, resumed: bool) -> Entry:
    pyramid: Pyramid = run.pyramid
    tissue: Tissue = run.tissue
    read = pyramid.bytes_read
    return {
        "levels": [list(size) for size in pyramid.sizes],
        "spacing_um": None if pyramid.spacing_um is None else list(pyramid.spacing_um),
        "share_with_tissue": tissue.share,
        "preparation": prepare.description,
        "file_bytes": pyramid.file_bytes,
        "bytes_read": read,
        "share_of_bytes_read": None if pyramid.bytes_touched is None else pyramid.bytes_touched / pyramid.file_bytes,
        "resumed": resumed,
    }
