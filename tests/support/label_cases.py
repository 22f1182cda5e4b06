"""Label files, good, odd and bad, with what every reader of labels must make of them: one table for all paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

__all__ = ["LABEL_CASES", "LabelCase"]

SIZE = (20, 16, 12)
# Voxels of 1 x 1.5 x 2 mm, left and posterior first: no axis and no sign is like another.
AFFINE = np.array([[-1.0, 0, 0, 30], [0, -1.5, 0, 20], [0, 0, 2, -10], [0, 0, 0, 1]])
TRUTH = np.zeros(SIZE, np.uint8)
TRUTH[3:9, 2:7, 1:6] = 1
TRUTH[11:17, 4:14, 4:10] = 2
MASK = np.zeros((24, 40), bool)
MASK[4:20, 6:18] = True

Write = Callable[[Path], Path]


@dataclass(frozen=True)
class LabelCase:
    """One label file with its image.

    Attributes:
        name: of the row.
        write: writes the label into a folder and returns its file.
        refused: what the sentence must say; empty where the label is the truth.
        classes: with the background; three for volumes, two for pictures.
        label_map: given to the reader.
        geometry: policy given to the reader.
    """

    name: str
    write: Write
    refused: str = ""
    classes: int = 3
    label_map: Mapping[int, int] = field(default_factory=dict)
    geometry: str = "reject"

    @property
    def picture(self) -> bool:
        """Whether the image is a picture."""
        return self.name.startswith("picture")

    @property
    def truth(self) -> np.ndarray:
        """(*spatial) class indices in the order of the image's file."""
        return MASK.T.astype(np.uint8) if self.picture else TRUTH

    def make(self, folder: Path) -> tuple[Path, Path]:
        """Write the image and its label as the simple layout; returns both files."""
        images, labels = folder / "images", folder / "labels"
        images.mkdir(parents=True, exist_ok=True)
        labels.mkdir(parents=True, exist_ok=True)
        if self.picture:
            image = images / "case.png"
            Image.fromarray(np.dstack([np.where(MASK, 230, 20)] * 3).astype(np.uint8)).save(image)
        else:
            image = images / "case.nii.gz"
            nib.save(nib.Nifti1Image((TRUTH * 110.0).astype(np.float32), AFFINE), image)
        return image, self.write(labels)


def _volume(values: np.ndarray, affine: np.ndarray = AFFINE, scale: tuple[float, float] | None = None) -> Write:
    def write(folder: Path) -> Path:
        image = nib.Nifti1Image(values, affine)
        if scale is not None:
            image.header.set_slope_inter(*scale)
        nib.save(image, folder / "case.nii.gz")
        return folder / "case.nii.gz"

    return write


def _reordered(permutation: tuple[int, ...], signs: tuple[int, ...], affine: np.ndarray = AFFINE) -> Write:
    """The truth with its voxels in another order and an affine that says so: the same places in space."""
    old = np.eye(4)
    for new, (axis, sign) in enumerate(zip(permutation, signs, strict=True)):
        old[:3, new] = 0
        old[axis, new] = sign
        if sign < 0:
            old[axis, 3] = SIZE[axis] - 1
    values = TRUTH.transpose(permutation)[tuple(slice(None, None, sign) for sign in signs)]
    return _volume(np.ascontiguousarray(values), affine @ old)


def _by_itk(folder: Path) -> Path:
    import itk

    image = itk.image_from_array(np.ascontiguousarray(TRUTH[::-1].transpose(2, 1, 0)))
    # ITK counts from right to left and front to back: the first axis is turned, its origin at the other end.
    image.SetOrigin([float(v) for v in (-(AFFINE[0, 3] - (SIZE[0] - 1)), -AFFINE[1, 3], AFFINE[2, 3])])
    image.SetSpacing([1.0, 1.5, 2.0])
    image.SetDirection(itk.matrix_from_array(np.diag([-1.0, 1.0, 1.0])))
    itk.imwrite(image, str(folder / "case.nrrd"))
    return folder / "case.nrrd"


def _picture(values: np.ndarray, suffix: str = ".png", mode: str | None = None, **options: int) -> Write:
    def write(folder: Path) -> Path:
        Image.fromarray(values.astype(np.uint8), mode).save(folder / f"case{suffix}", **options)
        return folder / f"case{suffix}"

    return write


def _palette(folder: Path) -> Path:
    picture = Image.fromarray(MASK.astype(np.uint8)).convert("P")
    picture.putpalette([255, 255, 255, 0, 0, 0])  # white background, black lesion: the entries count
    picture.save(folder / "case.png")
    return folder / "case.png"


def _moved(x: float, y: float, z: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, 3] += x, y, z
    return affine


_RAMP = np.linspace(0, 255, MASK.size).reshape(MASK.shape)
_OPAQUE = np.full(MASK.shape, 255)
_BLACK = np.zeros(MASK.shape)

LABEL_CASES = [
    LabelCase("as the image", _volume(TRUTH)),
    LabelCase("two axes reversed", _reordered((0, 1, 2), (-1, -1, 1))),
    LabelCase("axes permuted", _reordered((2, 0, 1), (1, 1, 1))),
    LabelCase("axes permuted and reversed", _reordered((1, 2, 0), (-1, 1, -1))),
    LabelCase("NRRD in another order", _by_itk),
    LabelCase("float voxels", _volume(TRUTH.astype(np.float32))),
    LabelCase("header of few digits", _volume(TRUTH, AFFINE + 1e-3 * np.eye(4, k=1))),
    LabelCase("shifted", _volume(TRUTH, _moved(3, 0, 4)), r"case\.nii\.gz does not lie on its image: .*up to 5 mm away"),
    LabelCase("mirrored", _volume(TRUTH, AFFINE * [[-1], [1], [1], [1]]), r"corners are up to \d+ mm away"),
    LabelCase("other spacing", _volume(TRUTH, AFFINE @ np.diag([2, 1, 1, 1])), r"voxels of 2x1\.5x2 mm, those .* 1x1\.5x2"),
    LabelCase("header lost", _volume(TRUTH, np.eye(4)), r"--policy LABEL_GEOMETRY=warn"),
    LabelCase("header lost, allowed", _volume(TRUTH, np.eye(4)), geometry="warn"),
    LabelCase("other size", _volume(TRUTH[:-1]), r"mm away \(19x16x12 voxels, the image has 20x16x12\)"),
    LabelCase("other size, allowed", _volume(TRUTH[:-1], np.eye(4)), r"19x16x12 voxels", geometry="warn"),
    LabelCase("of a plane", _volume(TRUTH[..., 0]), r"2 axes|away"),
    LabelCase("scaled", _volume((TRUTH * 2).astype(np.int16), scale=(0.5, 0))),
    LabelCase("scaled and shifted", _volume(TRUTH.astype(np.int16) + 3, scale=(1, -3))),
    LabelCase("scaled by a broken number", _volume((TRUTH * 10).astype(np.int16), scale=(0.1, 0))),
    LabelCase("scaled to fractions", _volume(TRUTH.astype(np.int16), scale=(0.3, 0)), r"holds 0\.3, .* whole numbers"),
    LabelCase("fractions", _volume(TRUTH * np.float32(0.5)), r"holds 0\.5, and a label holds whole numbers"),
    LabelCase("not a number", _volume(np.where(TRUTH == 2, np.nan, TRUTH).astype(np.float32)), r"holds nan"),
    LabelCase("negative", _volume(-TRUTH.astype(np.int16)), r"-2, -1"),
    LabelCase("numbers of another coding", _volume(TRUTH * np.uint8(63)), r"63.*126.*0 to 2.*--labels 63=1,126=2"),
    LabelCase("numbers that are mapped", _volume(TRUTH * np.uint8(63)), label_map={63: 1, 126: 2}),
    LabelCase("a number that the map forgot", _volume(TRUTH * np.uint8(63)), r"126", label_map={63: 1}),
    LabelCase("a map to a class that there is not", _volume(TRUTH), r"class 3.*0 to 2", label_map={1: 1, 2: 3}),
    LabelCase("a mask where there are two classes", _volume((TRUTH > 0) * np.uint8(255)), r"255.*0 to 2"),
    LabelCase("picture 0 and 1", _picture(MASK), classes=2),
    LabelCase("picture 0 and 255", _picture(MASK * 255), classes=2),
    LabelCase("picture 0 and 128", _picture(MASK * 128), classes=2),
    LabelCase("picture 0 and 7", _picture(MASK * 7), r"\b7\b.*0 to 1.*--labels 7=1", classes=2),
    LabelCase("picture 0 and 7, mapped", _picture(MASK * 7), classes=2, label_map={7: 1}),
    LabelCase("picture 1 and 255", _picture(np.where(MASK, 255, 1)), r"255", classes=2),
    LabelCase("picture grey as colour", _picture(np.dstack([MASK * 255] * 3)), classes=2),
    LabelCase("picture in colour", _picture(np.dstack([MASK * 255, _BLACK, _BLACK])), r"in colour", classes=2),
    LabelCase("picture palette", _palette, classes=2),
    LabelCase("picture opaque", _picture(np.dstack([MASK * 255] * 3 + [_OPAQUE])), classes=2),
    LabelCase("picture mask in alpha", _picture(np.dstack([_BLACK] * 3 + [MASK * 255])), classes=2),
    LabelCase("picture white mask in alpha", _picture(np.dstack([_OPAQUE] * 3 + [MASK * 255])), classes=2),
    LabelCase("picture grey mask in alpha", _picture(np.dstack([_BLACK, MASK * 255])), classes=2),
    LabelCase("picture colour and alpha agree", _picture(np.dstack([MASK * 255] * 4)), classes=2),
    LabelCase("picture colour and alpha differ", _picture(np.dstack([~MASK * 255] * 3 + [MASK * 255])), r"transparent", classes=2),
    LabelCase("picture soft edges", _picture(np.where(MASK, 255, _RAMP // 2)), r"0 to 1", classes=2),
    LabelCase("picture JPEG mask", _picture(MASK * 255, ".jpg", quality=80), classes=2),
    LabelCase("picture JPEG mask as colour", _picture(np.dstack([MASK * 255] * 3), ".jpg", quality=80), classes=2),
    LabelCase("picture JPEG of 0 and 1", _picture(MASK, ".jpg"), r"is a JPEG.*save the label as PNG", classes=2),
    LabelCase("picture JPEG of 0 and 128", _picture(MASK * 128, ".jpg"), r"is a JPEG", classes=2),
    LabelCase("picture JPEG photograph", _picture(_RAMP, ".jpg"), r"is a JPEG", classes=2),
    LabelCase("picture turned", _picture(MASK.T), r"is 24x40 pixels, .* is 40x24.*EXIF", classes=2),
    LabelCase("picture smaller", _picture(MASK[:-1]), r"is 40x23 pixels, .* is 40x24", classes=2),
]  # fmt: skip
