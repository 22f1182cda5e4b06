"""Segment slides with a bundle: from a file of any size to label images, outlines and a picture, in bounded memory.

Letters in shapes: ``C`` classes, ``X`` columns, ``Y`` rows.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import AsDiscreted
from numpy.typing import NDArray

from monai_dis.data.atomic import atomic_path
from monai_dis.engines.device import PeakMemory, return_free_memory
from monai_dis.engines.network_input import NetworkInput
from monai_dis.engines.output_folder import mask_name, name_outputs, prepare_folder, remove_leftovers
from monai_dis.engines.prediction import Stopwatch
from monai_dis.engines.run_report import RunReport, absolute, fingerprint, report_name, settings_digest
from monai_dis.engines.segment import SMALLEST_PICTURE, Segmenter, run_figures
from monai_dis.errors import DisError, ImageError, OutputError
from monai_dis.inferers.result import IterativeResult
from monai_dis.reports.overlay import Outline, draw_overlay
from monai_dis.reports.page import write_page
from monai_dis.reports.picture import colours_of
from monai_dis.runtimes import needs_calibration
from monai_dis.slides.composing import compose_labels
from monai_dis.slides.extra import require
from monai_dis.slides.geojson import write_outlines
from monai_dis.slides.intensities import Preparation, prepare_by_region
from monai_dis.slides.labels import LabelTiles
from monai_dis.slides.opening import open_slide, slide_stem
from monai_dis.slides.overview import read_overview
from monai_dis.slides.pyramid import OVERVIEW, Pyramid
from monai_dis.slides.run import SlideRun, run_slide
from monai_dis.slides.store import open_work_folder
from monai_dis.slides.tissue import RULE, Tissue, find_tissue

__all__ = ["SlideSegmenter"]

logger = logging.getLogger(__name__)

Entry = dict[str, Any]


class SlideSegmenter:
    """What ``monai-dis segment`` runs for slides.

    For each a pyramidal label image ``<stem>_seg.ome.tif`` (and a mask for each of several overlapping classes), outlines
    ``<stem>_outlines.geojson`` and the picture ``<stem>_overlay.png``. While it works, ``.slide-<stem>`` in the output folder holds
    what is done; a run that was killed goes on with it.

    Args:
        segmenter: made from the bundle's ``inference`` config; its images are not used.

    Raises:
        ImageError: when its runtime is calibrated on images, or the bundle makes labels in a way of its own.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        predictor = segmenter.predictor
        if needs_calibration(segmenter.network):
            raise ImageError(
                "the runtime openvino-int8 is calibrated on whole images; choose another runtime for slides."
            )
        for step in predictor.postprocessing.transforms:
            others = [t for t in step.threshold if t not in (None, 0.5)] if isinstance(step, AsDiscreted) else []
            if others:
                raise ImageError(
                    "slides are labelled by the likeliest class, or by probabilities above one half, and the bundle's postprocessing has "
                    f"the threshold {others[0]}; set it to 0.5."
                )
        self.segmenter = segmenter
        #: What results depend on besides the slides, in plain JSON types.
        self.result_settings: dict[str, Any] = {**segmenter.settings, "tissue": RULE}
        self.entries: list[Entry] = []
        self.on_image: Callable[[int, int, Entry], None] | None = None
        self.on_stage: Callable[[str, int, int], None] = lambda stage, done, total: None

    def run(self, slides: Sequence[str | Path], *, before: Sequence[Entry] = ()) -> dict[str, Any]:
        """Segment slides; one that fails does not stop the others.

        Args:
            slides: files, and folders of OME-Zarr.
            before: entries of images that this run segmented already, for the report.

        Returns:
            the content of ``report.json``.

        Raises:
            OutputError: when the output folder cannot be written.
            ImageError: at the end, when slides failed; their entries in the report say why.
        """
        segmenter, files = self.segmenter, [Path(each).expanduser() for each in slides]
        folder = prepare_folder(segmenter.output_dir)
        if segmenter.shard is None:
            remove_leftovers(folder)
        report = RunReport.open(folder, self.result_settings, report_name(segmenter.shard))
        report.images.extend(before)
        self.entries = report.images
        report.earlier = [old for old in report.earlier if old["source"] not in [each["source"] for each in before]]
        stems = report.stems()
        taken = {file: stems[absolute(file)] for file in files if absolute(file) in stems}
        used = {*stems.values(), *(each["source"]["stem"] for each in before)} - set(taken.values())
        names = name_outputs(files, taken, used, slide_stem)
        if segmenter.shard is not None:
            files = files[segmenter.shard[0] - 1 :: segmenter.shard[1]]
        failed = []
        for number, file in enumerate(files, start=1):
            entry = None if segmenter.overwrite else report.finished(file)
            entry = self.segment(file, names[file], folder) if entry is None else {**entry, "kept": True}
            report.add(file, names[file], entry)
            failed += [entry["error"]] if "error" in entry else []
            if self.on_image is not None:
                self.on_image(number, len(files), entry)
        if segmenter.shard is None:
            write_page(report.to_dict(), folder)
        if failed:
            one = len(failed) == 1
            raise ImageError(
                failed[0] if one else f"{len(failed)} slides could not be segmented:\n  " + "\n  ".join(failed)
            )
        return report.to_dict()

    def segment(self, file: Path, stem: str, folder: Path) -> Entry:
        """Segment one slide, on from where a killed run left it; what goes wrong with it is in the entry.

        Args:
            file: the slide; a folder for OME-Zarr.
            stem: of its results' names.
            folder: of its results, which is there.

        Returns:
            its entry of the report.

        Raises:
            OutputError: when the folder cannot be written.
        """
        entry: Entry = {"input": str(file), "mode": self.segmenter.mode}
        try:
            require("tifffile", f"writing the labels of {file}")
            entry.update(self._answer(file, stem, folder))
        except OutputError:
            raise
        except DisError as error:
            entry.update(error=str(error), refused=True)
        except OSError as error:
            raise OutputError(
                f"results of {file} cannot be written ({error.strerror or error}); make room or choose another folder."
            ) from error
        except Exception as error:  # one strange file must not cost a night's work
            logger.debug("unexpected error on %s", file, exc_info=True)
            entry["error"] = f"{file} could not be segmented ({type(error).__name__}: {error})"
        return entry

    def _answer(self, file: Path, stem: str, folder: Path) -> Entry:
        device = self.segmenter.device
        memory, watch = PeakMemory(device), Stopwatch(device)
        memory.start()
        with watch.stage("read"):
            pyramid = open_slide(file)
            _check_channels(pyramid, self.segmenter.predictor.expected)
            overview = read_overview(pyramid)
            tissue = find_tissue(overview)
        with watch.stage("prepare"):
            predictor = self.segmenter.predictor
            prepare = prepare_by_region(predictor.preprocessing, pyramid, overview, predictor.image_key)
        work = folder / f".slide-{stem}"
        resumed = open_work_folder(work, {"settings": settings_digest(self.result_settings), **fingerprint(file)})
        run = SlideRun(
            pyramid,
            self.segmenter.network,
            predictor.runner.inferer.settings,
            prepare,
            tissue,
            work / "levels",
            device,
            self.on_stage,
        )
        run.folder.mkdir(exist_ok=True)
        result = run_slide(run)
        labels, masks = self._label_tiles(result, pyramid, work)
        with watch.stage("compose"):
            compose_labels(
                result.mosaic, tissue, labels, masks, lambda done, total: self.on_stage("labels", done, total)
            )
        with watch.stage("statistics"):
            statistics = result.statistics.to_dict()
        entry = self._write(result, labels, masks, overview, pyramid, folder / stem, watch)
        entry.update(_figures(statistics, pyramid, watch, memory))
        entry["slide"] = _description(run, prepare, resumed)
        shutil.rmtree(work)
        return entry

    def _label_tiles(
        self, result: IterativeResult, pyramid: Pyramid, work: Path
    ) -> tuple[LabelTiles, list[LabelTiles]]:
        channels, activation = result.mosaic.channels, result.mosaic.activation
        overlapping = channels if activation == "sigmoid" and channels > 1 else 0
        dtype = np.uint8 if channels <= 256 else np.uint16
        labels = LabelTiles(work / "labels", pyramid.size, dtype)
        return labels, [LabelTiles(work / f"mask-{k}", pyramid.size) for k in range(1, overlapping + 1)]

    def _write(
        self,
        result: IterativeResult,
        labels: LabelTiles,
        masks: Sequence[LabelTiles],
        overview: NDArray[np.generic],
        pyramid: Pyramid,
        base: Path,
        watch: Stopwatch,
    ) -> Entry:
        names = self.segmenter.label_names
        output = base.with_name(f"{base.name}_seg.ome.tif")
        outlines = base.with_name(f"{base.name}_outlines.geojson")
        overlay = base.with_name(f"{base.name}_overlay.png")
        entry: Entry = {"output": str(output.absolute()), "overlay": str(overlay.absolute())}
        written = {}
        with watch.stage("write"):
            for tiles in (labels, *masks):
                tiles.finish()
            labels.save(output, pyramid.spacing_um)
            for index, tiles in enumerate(masks, start=1):
                name = names.get(index, f"class {index}")
                path = base.with_name(mask_name(f"{base.name}_seg", index, name, ".ome.tif"))
                tiles.save(path, pyramid.spacing_um)
                written[name] = str(path.absolute())
        return_free_memory()
        with watch.stage("outlines"):
            found = write_outlines(outlines, _classes(result, labels, masks), names)
        with watch.stage("overlay"):
            picture = _picture(result, labels, overview, names)
            with atomic_path(overlay) as temporary:
                picture.save(temporary, compress_level=3)
        return {**entry, **({"masks": written} if written else {}), "outlines": str(outlines.absolute()), **found}


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
