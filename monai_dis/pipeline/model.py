"""A bundle in use: its network, transforms and classes, of a bundle of ours or of MONAI's model zoo; opened once and never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from torch import nn

from monai_dis.bundle import BundleMetadata, find_bundle, load_bundle
from monai_dis.bundle.foreign import foreign_parts, is_foreign
from monai_dis.bundle.weights import weights_digest
from monai_dis.data.labels import LoadLabeld
from monai_dis.errors import BundleError
from monai_dis.inferers import IterativeInferer
from monai_dis.pipeline.device import pick_device
from monai_dis.pipeline.modes import Runner, describe_transform, make_runner, run_budget
from monai_dis.pipeline.predict import Predictor
from monai_dis.runtimes import with_runtime

__all__ = ["Model"]

# What a run is told from outside; a bundle of ours has an entry for each in its config.
_MODEL_OPTIONS = ("mode", "windows", "coverage", "operations", "overlap", "device", "runtime", "runtime_cache")
_RUN_OPTIONS = ("image_files", "output_dir", "overwrite")


@dataclass(frozen=True)
class Model:
    """What answers images.

    Attributes:
        network: with its weights, on its device, computed by its runtime.
        predictor: reads, prepares and answers one image.
        mode: ``"dis"``, ``"sliding-window"`` (the refine network everywhere) or ``"coarse"`` (no window at all).
        classes: names of the classes by index, for legends.
        settings: what results depend on besides the images, in plain JSON types.
        metadata: of the bundle; None for parts that were put together without one.
        overwrite: whether results that are complete are made again.
        folder: of the bundle; None likewise.
        window_overlap: of the bundle's own sliding window, where it is one of MONAI's model zoo; None for the default.
        label_geometry: what is done about a label that lies elsewhere than its image, ``"reject"`` or ``"warn"``.
    """

    network: nn.Module = field(repr=False)
    predictor: Predictor = field(repr=False)
    mode: str
    classes: Mapping[int, str]
    settings: Mapping[str, Any] = field(repr=False)
    metadata: BundleMetadata | None = field(default=None, repr=False)
    overwrite: bool = False
    folder: Path | None = None
    window_overlap: Any = None
    label_geometry: str = "reject"

    @property
    def runner(self) -> Runner:
        """How the network is run on a prepared image."""
        return self.predictor.runner

    @property
    def inferer(self) -> IterativeInferer:
        """What runs the network, with the budget of the model's mode."""
        return self.runner.inferer

    @property
    def label_reader(self) -> LoadLabeld:
        """What reads labels of the model's classes, as training and evaluation do."""
        return LoadLabeld("label", len(self.classes) + 1, geometry=self.label_geometry)

    def label_of(self, file: str | Path, image: MetaTensor) -> MetaTensor:
        """A reader's label as class indices on the voxels of its image.

        Args:
            file: of the label.
            image: (C, *spatial) as read.

        Returns:
            (1, *spatial) float32.

        Raises:
            DisError: when it cannot be read, lies elsewhere, or has numbers that are no classes of the model.
        """
        label: MetaTensor = self.label_reader({"image": image, "label": str(file)})["label"].float()
        return label

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self.predictor.device

    @classmethod
    def open(
        cls,
        bundle: str | Path,
        overrides: Mapping[str, Any] | None = None,
        *,
        clicks: bool = False,
        label_geometry: str = "reject",
    ) -> Model:
        """Open a bundle and load its weights.

        A bundle's config is code: open only bundles that you trust.

        Args:
            bundle: name or folder, of a bundle of ours or of a segmentation bundle of MONAI's model zoo.
            overrides: entries of its ``inference`` config to replace, mode, budget, device and runtime among them.
            clicks: load the bundle's network of clicks too, where it has one.
            label_geometry: see `Model`.

        Raises:
            BundleError: when the bundle or its weights are missing or cannot be used.
            DisError: when an override cannot be used.
        """
        folder, given = find_bundle(bundle), dict(overrides or {})
        if not is_foreign(load_bundle(folder, "inference")):
            ours = load_bundle(folder, "inference", given)
            made = getattr(ours.part("evaluator"), "model", None)
            if not isinstance(made, cls):
                raise BundleError(f"the evaluator in {ours.config_file} is no monai_dis.pipeline.Segmenter; use one.")
            if clicks and "click_network" in ours.parser and Path(str(ours.part("click_file"))).is_file():
                made.network.clicks = ours.part("click_network")
            names = _class_names(ours.metadata, made.classes)
            return replace(made, classes=names, metadata=ours.metadata, folder=folder, label_geometry=label_geometry)
        options = {key: given.pop(key) for key in (*_MODEL_OPTIONS, *_RUN_OPTIONS) if key in given}
        theirs = load_bundle(folder, "inference", given)
        parts = foreign_parts(theirs)
        if options.get("mode") == "sliding-window" and options.get("overlap") is None:
            options["overlap"] = parts.overlap  # the mode is the bundle's own sliding window
        made = cls.of_parts(
            parts.network,
            parts.inferer,
            parts.preprocessing,
            parts.postprocessing,
            overwrite=bool(options.get("overwrite", False)),
            metadata=theirs.metadata,
            **{key: value for key, value in options.items() if key in _MODEL_OPTIONS},
        )
        return replace(made, folder=folder, window_overlap=parts.overlap, label_geometry=label_geometry)

    @classmethod
    def of_parts(
        cls,
        network: nn.Module,
        inferer: IterativeInferer,
        preprocessing: Compose,
        postprocessing: Compose,
        *,
        mode: str = "dis",
        windows: int | None = None,
        coverage: float | None = None,
        operations: float | str | None = None,
        overlap: float | None = None,
        device: str | torch.device = "auto",
        classes: Mapping[Any, str] | None = None,
        runtime: str = "torch",
        runtime_cache: str | Path | None = None,
        image_key: str = "image",
        pred_key: str = "pred",
        overwrite: bool = False,
        metadata: BundleMetadata | None = None,
    ) -> Model:
        """Put a model together, as a bundle's config does; see `monai_dis.pipeline.Segmenter` for the arguments.

        Raises:
            DisError: one of its subclasses, when an argument cannot be used.
        """
        place = pick_device(device)
        network = network.to(place).eval()
        computed = with_runtime(network, runtime, cache_dir=runtime_cache)
        budget = run_budget(inferer, mode, windows=windows, coverage=coverage, operations=operations)
        runner = make_runner(computed, inferer, mode, budget, overlap)
        predictor = Predictor(
            runner, computed, preprocessing, postprocessing, place, image_key=image_key, pred_key=pred_key
        )
        settings: dict[str, Any] = {
            "mode": mode,
            **runner.settings,
            "weights": weights_digest(network),
            "preprocessing": describe_transform(preprocessing),
            "postprocessing": describe_transform(postprocessing),
        }
        if runtime != "torch":
            settings["runtime"] = runtime
        names = {int(index): name for index, name in (classes or {}).items()}
        if metadata is not None:
            names = _class_names(metadata, names)
        return cls(computed, predictor, mode, names, settings, metadata, overwrite)


def _class_names(metadata: BundleMetadata, named: Mapping[int, str]) -> dict[int, str]:
    """Names by the index that labels have, from 1: the background has none.

    Args:
        metadata: of the bundle, whose DICOM segments or output channels count where nothing else is said.
        named: what the bundle's config says.
    """
    named = {index: name for index, name in named.items() if index > 0}
    segments = metadata.dicom.segments if metadata.dicom is not None else {}
    if named and (not segments or set(named) == set(segments)):
        return dict(named)
    if segments:
        return {number: segment.label for number, segment in segments.items()}
    if len(metadata.classes) == 1:
        return {1: next(iter(metadata.classes.values()))}
    return {index: name for index, name in sorted(metadata.classes.items()) if index > 0}
