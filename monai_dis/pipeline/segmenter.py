"""What a bundle's ``inference`` config runs: its parts as a model, and the run of `monai_dis.pipeline.run` over its images."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.transforms.compose import Compose
from torch import nn

from monai_dis.bundle.metadata import BundleMetadata
from monai_dis.inferers import IterativeInferer
from monai_dis.pipeline.model import Model
from monai_dis.pipeline.options import Options
from monai_dis.pipeline.record import Record
from monai_dis.pipeline.report import Shard
from monai_dis.pipeline.run import OnRecord, in_this_process, raise_failures, run

__all__ = ["Segmenter"]

logger = logging.getLogger(__name__)


class Segmenter:
    """What ``monai-dis segment`` and a bundle's ``inference`` config run.

    Args:
        network: a `TwoStageNet`, or any network for both stages; with its weights.
        inferer: levels, windows, scores and merging, and the budget that counts when none is given here.
        preprocessing: first reads the file under ``image_key`` (`ReadImaged`, or MONAI's ``LoadImaged``), then prepares it.
        postprocessing: brings the inferer's output under ``pred_key`` back to the file's grid (``Invertd``), and makes labels of
            logits.
        image_files: image files, slides, DICOM studies, and folders of all of these.
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
        bundle_root: folder of the bundle, whose metadata say what DICOM studies it takes; without it there are none.
        options: how studies are taken and what is written: arguments of `Options.of_words`.
        shard: ``(i, n)`` to do the i-th of n shares of the images only, beside other processes that do the others.
        on_record: called after each study with how many are done, of how many, and what became of it.

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
        bundle_root: str | Path | None = None,
        options: Mapping[str, Any] | None = None,
        shard: Shard | None = None,
        on_record: OnRecord | None = None,
    ) -> None:
        self.model = Model.of_parts(
            network,
            inferer,
            preprocessing,
            postprocessing,
            mode=mode,
            windows=windows,
            coverage=coverage,
            operations=operations,
            overlap=overlap,
            device=device,
            classes=label_names,
            runtime=runtime,
            runtime_cache=runtime_cache,
            image_key=image_key,
            pred_key=pred_key,
            overwrite=overwrite,
            metadata=None if bundle_root is None else BundleMetadata.read(Path(bundle_root)),
        )
        self.image_files = [image_files] if isinstance(image_files, (str, Path)) else list(image_files)
        self.output_dir = Path(output_dir)
        self.options = Options.of_words(**(options or {}))
        self.shard = shard
        self.on_record = on_record

    def run(self) -> dict[str, Any]:
        """Segment all images; one that fails does not stop the others.

        Returns:
            the content of ``report.json``.

        Raises:
            DataError: when there is nothing to segment.
            OutputError: when the output folder cannot be written.
            ImageError: at the end, when images failed; their entries in the report say why.
        """
        report = run(
            self.image_files,
            self.output_dir,
            in_this_process(self.model, self.options),
            options=self.options,
            settings=dict(self.model.settings),
            shard=self.shard,
            on_record=self.on_record or _log,
        )
        raise_failures(report)
        return report.to_dict()


def _log(done: int, total: int, record: Record) -> None:
    logger.info("%d of %d, %s: %s", done, total, record.study, record.reason or record.status)
    for finding in record.findings:
        if finding["policy"] == "warn":
            logger.warning("%s: %s: %s", record.study, finding["code"], finding["message"])
