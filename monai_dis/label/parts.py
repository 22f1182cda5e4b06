"""A bundle's parts for one network in use: those of a bundle of ours, or of one that MONAI's model zoo has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_dis.bundle import Bundle, BundleMetadata, find_bundle, load_bundle
from monai_dis.bundle.foreign import foreign_parts, is_foreign
from monai_dis.data import LoadLabeld

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms.compose import Compose
    from torch import nn

    from monai_dis.inferers import IterativeInferer

__all__ = ["ModelParts", "open_parts"]


@dataclass(frozen=True)
class ModelParts:
    """What answering a request needs of a bundle.

    Attributes:
        folder: of the bundle.
        metadata: what it says of itself.
        network: with its weights, in evaluation mode, on the CPU.
        inferer: with the bundle's own budget.
        preprocessing: reads and prepares an image.
        postprocessing: brings an answer back to the file's grid and makes labels of it.
        classes: names of the classes by index, from 1.
        overlap: of the bundle's own sliding window; None for the default.
        foreign: whether the bundle knows nothing of us.
        label_geometry: what is done about a reader's label that lies elsewhere than its image, ``"reject"`` or ``"warn"``.
    """

    folder: Path
    metadata: BundleMetadata
    network: nn.Module
    inferer: IterativeInferer
    preprocessing: Compose
    postprocessing: Compose
    classes: Mapping[int, str]
    overlap: Any = None
    foreign: bool = False
    label_geometry: str = "reject"

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
    def label_reader(self) -> LoadLabeld:
        """What reads labels of the model's classes, as training and evaluation do."""
        return LoadLabeld("label", len(self.classes) + 1, geometry=self.label_geometry)


def open_parts(name_or_folder: str | Path, *, label_geometry: str = "reject") -> ModelParts:
    """Open a bundle and load its weights.

    A bundle's config is code: open only bundles that you trust.

    Args:
        name_or_folder: of a DIS bundle, or of a segmentation bundle of MONAI's model zoo.
        label_geometry: what is done about a reader's label that lies elsewhere than its image, ``"reject"`` or ``"warn"``.

    Raises:
        BundleError: when the bundle or its weights are missing or cannot be used.
    """
    folder = find_bundle(name_or_folder)
    bundle = load_bundle(folder)
    if is_foreign(bundle):
        theirs = foreign_parts(bundle)
        network, inferer, overlap = theirs.network, theirs.inferer, theirs.overlap
        preprocessing, postprocessing = theirs.preprocessing, theirs.postprocessing
    else:
        network, inferer, overlap = bundle.part("network"), bundle.part("inferer"), None
        if "click_network" in bundle.parser and Path(str(bundle.part("click_file"))).is_file():
            network.clicks = bundle.part("click_network")
        preprocessing, postprocessing = bundle.part("preprocessing"), bundle.part("postprocessing")
    return ModelParts(
        folder,
        bundle.metadata,
        network.eval(),
        inferer,
        preprocessing,
        postprocessing,
        _class_names(bundle),
        overlap,
        is_foreign(bundle),
        label_geometry,
    )


def _class_names(bundle: Bundle) -> dict[int, str]:
    """Names by the index that labels have: the background, 0, has none."""
    named: dict[int, str] = {}
    if "label_names" in bundle.parser:
        named = {int(index): str(name) for index, name in dict(bundle.part("label_names")).items() if int(index) > 0}
    segments = bundle.metadata.dicom.segments if bundle.metadata.dicom is not None else {}
    if named and (not segments or set(named) == set(segments)):
        return named
    if segments:
        return {number: segment.label for number, segment in segments.items()}
    classes = bundle.metadata.classes
    if len(classes) == 1:
        return {1: next(iter(classes.values()))}
    return {index: name for index, name in sorted(classes.items()) if index > 0}
