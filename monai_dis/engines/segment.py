"""Segment many images with a bundle: whole files only, and on from where a run was cut off.

While one image is in the network, the next is read and the last is written.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.transforms.compose import Compose
from torch import nn

from monai_dis.bundle.weights import weights_digest
from monai_dis.data.atomic import atomic_path
from monai_dis.data.image_files import PICTURE_SUFFIXES, image_suffix, segmentation_suffix
from monai_dis.data.writing import write_segmentation
from monai_dis.engines.device import PeakMemory, pick_device
from monai_dis.engines.modes import describe_transform, make_runner, run_budget
from monai_dis.engines.output_folder import expand_inputs, mask_name, name_outputs, prepare_folder, remove_leftovers
from monai_dis.engines.overlapping import overlapped
from monai_dis.engines.prediction import Prediction, Predictor, Prepared, Stopwatch, enough_memory
from monai_dis.engines.run_report import RunReport, Shard, absolute, report_name
from monai_dis.errors import DisError, ImageError, OutputError
from monai_dis.inferers import Budget, IterativeInferer
from monai_dis.runtimes import with_runtime

__all__ = ["SMALLEST_PICTURE", "Segmenter", "figures", "run_figures"]

logger = logging.getLogger(__name__)

Entry = dict[str, Any]
SMALLEST_PICTURE = 640  # pixels: an overlay's lines and legend cannot be read on less


@dataclass
class _OnItsWay:
    """An image between reading and writing; ``prepared`` and ``prediction`` are None when there is nothing more to do."""

    entry: Entry
    prepared: Prepared | None = None
    watch: Stopwatch | None = None
    prediction: Prediction | None = None


class Segmenter:
    """What ``monai-dis segment`` and a bundle's ``inference`` config run.

    Args:
        network: a `TwoStageNet`, or any network for both stages; with its weights.
        inferer: levels, windows, scores and merging, and the budget that counts when none is given here.
        preprocessing: first reads the file under ``image_key`` (`ReadImaged`, or MONAI's ``LoadImaged``), then prepares it.
        postprocessing: brings the inferer's output under ``pred_key`` back to the file's grid (``Invertd``), and makes labels of
            logits.
        image_files: image files, and folders of them.
        output_dir: folder for results; made when missing.
        mode: ``"dis"``, ``"sliding-window"`` (the refine network everywhere) or ``"coarse"`` (no window at all).
        windows: budget, see `Budget`.
        coverage: budget.
        operations: budget.
        overlap: share of a window that its neighbour covers; default the inferer's, 0.5 for ``"sliding-window"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or a device.
        label_names: names of the classes by index, for the overlay's legend.
        overwrite: redo images whose results are complete.
        runtime: what computes the networks, see `monai_dis.runtimes.with_runtime`.
        runtime_cache: folder where the runtime's exports are kept; nothing is kept when not given.
        image_key: key of the image in the transforms.
        pred_key: key of the answer in the transforms.
        on_image: called after each image with how many are done, of how many, and the entry of the report.

    Attributes:
        check_file: looks at an image's file before it is read; what it returns goes into the report, what it raises refuses the image.
        entries: what the report says of the images of the last run.
        shard: ``(i, n)`` to segment the i-th of n shares of the images only, beside other processes that do the others.

    Raises:
        DisError: one of its subclasses, when an argument cannot be used.
    """

    def __init__(
        self,
        network: nn.Module,
        inferer: IterativeInferer,
        preprocessing: Compose,
        postprocessing: Compose,
        image_files: str | Path | Iterable[str | Path],
        output_dir: str | Path,
        *,
        mode: str = "dis",
        windows: int | None = None,
        coverage: float | None = None,
        operations: float | str | None = None,
        overlap: float | None = None,
        device: str | torch.device = "auto",
        label_names: Mapping[int | str, str] | None = None,
        overwrite: bool = False,
        runtime: str = "torch",
        runtime_cache: str | Path | None = None,
        image_key: str = "image",
        pred_key: str = "pred",
        on_image: Callable[[int, int, Entry], None] | None = None,
    ) -> None:
        self.device = pick_device(device)
        network = network.to(self.device).eval()
        self.network = with_runtime(network, runtime, cache_dir=runtime_cache)
        self.mode = mode
        self.budget: Budget = run_budget(inferer, mode, windows=windows, coverage=coverage, operations=operations)
        self.runner = make_runner(self.network, inferer, mode, self.budget, overlap)
        self.predictor = Predictor(
            self.runner,
            self.network,
            preprocessing,
            postprocessing,
            self.device,
            image_key=image_key,
            pred_key=pred_key,
        )
        self.image_files = [image_files] if isinstance(image_files, (str, Path)) else list(image_files)
        self.output_dir = Path(output_dir)
        self.label_names = {int(index): name for index, name in (label_names or {}).items()}
        self.overwrite = overwrite
        self.on_image = on_image
        self.check_file: Callable[[Path], Entry] | None = None
        self.shard: Shard | None = None
        self.entries: list[Entry] = []
        self.settings: dict[str, Any] = {
            "mode": mode,
            **self.runner.settings,
            "weights": weights_digest(network),
            "preprocessing": describe_transform(preprocessing),
            "postprocessing": describe_transform(postprocessing),
        }
        if runtime != "torch":
            self.settings["runtime"] = runtime

    def run(self) -> dict[str, Any]:
        """Segment all images; one that fails does not stop the others.

        Returns:
            the content of ``report.json``.

        Raises:
            DataError: when there is nothing to segment.
            OutputError: when the output folder cannot be written.
            ImageError: at the end, when images failed; their entries in the report say why.
        """
        files = expand_inputs(self.image_files)
        folder = prepare_folder(self.output_dir)
        if self.shard is None:
            remove_leftovers(folder)  # with shares they may be files that another process is writing
        report = RunReport.open(folder, self.settings, report_name(self.shard))
        self.entries = report.images
        names = name_outputs(files, *_stems_in_use(report, files))
        if self.shard is not None:
            files = files[self.shard[0] - 1 :: self.shard[1]]
            report.write()
        # The mark of the whole process: what several images at once need counts for each.
        memory = PeakMemory(self.device)
        memory.start()
        steps = overlapped(
            files,
            lambda file: self._read(report, file),
            lambda file, going: self._work(going, file, memory),
            lambda file, going: self._deliver(going, file, names[file], folder),
        )
        for number, (file, entry) in enumerate(zip(files, steps, strict=True), start=1):
            report.add(file, names[file], entry)
            if self.on_image is not None:
                self.on_image(number, len(files), entry)
            else:
                logger.info("%d of %d, %s: %s", number, len(files), file, entry.get("error", "done"))
        self._finish(report)
        return report.to_dict()

    def segment(self, file: Path, stem: str, folder: Path) -> Entry:
        """Segment one image, whatever was done before; what goes wrong with it is in the entry.

        Args:
            file: the image.
            stem: of its results' names.
            folder: of its results, which is there.

        Returns:
            its entry of the report.

        Raises:
            OutputError: when the folder cannot be written.
        """
        memory = PeakMemory(self.device)
        memory.start()
        return self._deliver(self._work(self._read(None, file), file, memory), file, stem, folder)

    def _read(self, report: RunReport | None, file: Path) -> _OnItsWay:
        """Read and prepare an image, unless an earlier run completed it and it is not to be redone."""
        earlier = None if self.overwrite or report is None else report.finished(file)
        if earlier is not None:
            return _OnItsWay({**earlier, "input": str(file), "kept": True})
        going = _OnItsWay({"input": str(file), "mode": self.mode})
        watch = Stopwatch(self.device)
        with _kept_in(going.entry, file), enough_memory(file):
            if self.check_file is not None:
                going.entry.update(self.check_file(file))
            going.prepared = self.predictor.prepare(file, None, watch)
            going.watch = watch
        return going

    def _work(self, going: _OnItsWay, file: Path, memory: PeakMemory) -> _OnItsWay:
        if going.prepared is not None:
            assert going.watch is not None
            with _kept_in(going.entry, file), enough_memory(file):
                going.prediction = self.predictor.answer(going.prepared, going.watch, memory)
            going.prepared = None  # its memory is for the next image
        return going

    def _deliver(self, going: _OnItsWay, file: Path, stem: str, folder: Path) -> Entry:
        if going.prediction is not None:
            with _kept_in(going.entry, file):
                written = self._write(going.prediction, file, stem, folder)
                going.entry.update({**written, **figures(going.prediction, file)})
        return going.entry

    def _write(self, prediction: Prediction, file: Path, stem: str, folder: Path) -> Entry:
        from monai_dis.reports.picture import result_picture

        output = folder / f"{stem}_seg{segmentation_suffix(file)}"
        overlay = folder / f"{stem}_overlay.png"
        labels = prediction.label_map()
        try:
            with prediction.watch.stage("write"):
                write_segmentation(labels[None], prediction.image, output)
                masks = self._write_masks(prediction, output)
            with prediction.watch.stage("overlay"):
                affine = prediction.image.affine.double().cpu().numpy()
                picture = result_picture(
                    prediction.image.as_tensor().cpu().numpy(),
                    labels.numpy(),
                    prediction.boxes,
                    affine,
                    class_names=self.label_names,
                    min_side=SMALLEST_PICTURE,
                )
                with atomic_path(overlay) as temporary:
                    # a third of the time of the default for a tenth more bytes
                    picture.save(temporary, compress_level=3)
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(
                f"{output} cannot be written ({error.strerror or error}); make room or choose another folder."
            ) from error
        entry = {"output": str(output.absolute()), "overlay": str(overlay.absolute())}
        return {**entry, "masks": masks} if masks else entry

    def _write_masks(self, prediction: Prediction, output: Path) -> dict[str, str]:
        """A mask for each of several overlapping classes, which one file of class indices cannot hold.

        Returns:
            the files by the name of the class; nothing for exclusive classes.
        """
        if prediction.labels.shape[0] == 1:
            return {}
        written = {}
        for index, mask in enumerate(prediction.class_masks(), start=1):
            name = self.label_names.get(index, f"class {index}")
            suffix = segmentation_suffix(output)
            path = output.with_name(mask_name(output.name.removesuffix(suffix), index, name, suffix))
            write_segmentation(mask[None].to(torch.uint8), prediction.image, path)
            written[name] = str(path.absolute())
        return written

    def _finish(self, report: RunReport) -> None:
        from monai_dis.reports.page import write_page

        with contextlib.suppress(OSError):  # the page is a courtesy; the results and report.json are written
            if self.shard is None:
                write_page(report.to_dict(), report.folder)
        failed = [entry["error"] for entry in report.images if "error" in entry]
        if failed:
            if len(report.images) == 1:
                raise ImageError(failed[0])
            sentences = "\n".join(f"  {message}" for message in failed)
            raise ImageError(f"{len(failed)} of {len(report.images)} images could not be segmented:\n{sentences}")


@contextlib.contextmanager
def _kept_in(entry: Entry, file: Path) -> Iterator[None]:
    """Enter what goes wrong with one image, so that it does not stop the others."""
    try:
        yield
    except OutputError:
        raise  # the next image would meet the same full or forbidden folder
    except DisError as error:
        entry.update(error=str(error), refused=True)
    except Exception as error:  # one strange file must not cost a night's work
        logger.debug("unexpected error on %s", file, exc_info=True)
        entry["error"] = f"{file} could not be segmented ({type(error).__name__}: {error})"


def _stems_in_use(report: RunReport, files: list[Path]) -> tuple[dict[Path, str], set[str]]:
    """Stems that images of this run had before, and those of earlier results that stay."""
    stems = report.stems()
    ours = {file: stems[absolute(file)] for file in files if absolute(file) in stems}
    return ours, set(stems.values()) - set(ours.values())


def figures(prediction: Prediction, path: Path) -> Entry:
    """What the report says of the prediction for a file: windows, operations, seconds, memory, sizes."""
    # A photograph has no spacing: its pixels are no millimetres.
    unknown = ("uncertain_left_mm",) if image_suffix(path) in PICTURE_SUFFIXES else ()
    sizes = {"image": list(prediction.image.shape[1:]), "prepared": list(prediction.prepared_size)}
    return run_figures(prediction.statistics, prediction.watch.seconds, prediction.peak_memory_bytes, sizes, unknown)


def run_figures(
    statistics: Mapping[str, Any],
    seconds: Mapping[str, float],
    peak_memory_bytes: int,
    sizes: Mapping[str, list[int]],
    unknown: Sequence[str] = (),
) -> Entry:
    """What the report says of one run: windows, operations, seconds, memory, sizes.

    Args:
        statistics: of the run, in plain JSON types.
        seconds: by stage.
        peak_memory_bytes: largest memory in use.
        sizes: of the image as it is and as it was prepared.
        unknown: statistics that mean nothing for this image.
    """
    windows = statistics.get("windows", [])
    return {
        "windows_refined": statistics.get("windows_refined", len(windows)),
        "windows_total": statistics["windows_total"],
        "operations": statistics["operations"],
        "operations_full_pass": statistics["operations_full_pass"],
        "operations_sliding_window": statistics["operations_sliding_window"],
        "fraction_of_full_pass": statistics["fraction_of_full_pass"],
        "fraction_of_sliding_window": statistics["fraction_of_sliding_window"],
        "seconds": {
            **{stage: round(value, 6) for stage, value in seconds.items()},
            "total": round(sum(seconds.values()), 6),
        },
        "peak_memory_bytes": peak_memory_bytes,
        "sizes": dict(sizes),
        "statistics": {
            key: value
            for key, value in statistics.items()
            if key not in ("seconds", "windows_total", "windows_refined", "channels", *unknown)
            and not key.startswith(("operations", "fraction"))
        },
    }
