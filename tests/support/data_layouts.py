"""Miniatures of the official downloads, two or more cases each, written to a folder."""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

# Two rows, three columns; the marked pixels are foreground.
MASK = np.array([[0, 1, 0], [0, 0, 1]], dtype=np.uint8)
IMAGE = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


def save(path: Path, array: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def make_ph2(root: Path, names: tuple[str, ...]) -> Path:
    home = root / "PH2Dataset"
    for name in names:
        case = home / "PH2 Dataset images" / name
        save(case / f"{name}_Dermoscopic_Image" / f"{name}.bmp", IMAGE)
        save(case / f"{name}_lesion" / f"{name}_lesion.bmp", MASK.astype(bool))
        save(case / f"{name}_roi" / f"{name}_R1_Label4.bmp", MASK.astype(bool))
    (home / "Readme.txt").write_text("PH2")
    return home


def make_drive(root: Path, *, test_labels: bool = True) -> Path:
    home = root / "DRIVE"
    for part, numbers in (("training", range(21, 25)), ("test", range(1, 5))):
        for number in numbers:
            save(home / part / "images" / f"{number:02d}_{part}.tif", IMAGE)
            save(home / part / "mask" / f"{number:02d}_{part}_mask.gif", MASK * 255)
            if part == "training" or test_labels:
                save(home / part / "1st_manual" / f"{number:02d}_manual1.gif", MASK * 255)
    return home


def make_stare(root: Path, *, subfolders: bool = False, zipped: bool = True) -> Path:
    home = root / "STARE"
    for name in ("im0001", "im0002", "im0044", "im0077"):
        for suffix, array, folder in (("", IMAGE, "stare-images"), (".ah", MASK * 255, "labels-ah")):
            stream = io.BytesIO()
            Image.fromarray(array).save(stream, "PPM")
            path = (home / folder if subfolders else home) / f"{name}{suffix}.ppm{'.gz' if zipped else ''}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(stream.getvalue()) if zipped else stream.getvalue())
    # One of the many images of the collection that nobody labelled.
    (home / "im0300.ppm").write_bytes(b"P6 1 1 255\n000")
    return home


def make_chase(root: Path, *, sorted_into: bool = False, children: range = range(1, 5)) -> Path:
    home = root / "CHASEDB1"
    images, labels = (home / "images", home / "1st_label") if sorted_into else (home, home)
    for child in children:
        for eye in "LR":
            save(images / f"Image_{child:02d}{eye}.jpg", IMAGE)
            save(labels / f"Image_{child:02d}{eye}_1stHO.png", MASK.astype(bool))
            save(labels / f"Image_{child:02d}{eye}_2ndHO.png", ~MASK.astype(bool))
    return home


def make_hrf(root: Path) -> Path:
    home = root / "HRF"
    for number in (1, 2):
        for kind, suffix in (("dr", "JPG"), ("g", "jpg"), ("h", "jpg")):
            save(home / "images" / f"{number:02d}_{kind}.{suffix}", IMAGE)
            save(home / "manual1" / f"{number:02d}_{kind}.tif", MASK * 255)
            save(home / "mask" / f"{number:02d}_{kind}_mask.tif", np.stack([MASK * 255] * 3, axis=-1))
    return home


def make_kitti(root: Path, count: int = 8) -> Path:
    ids = np.array([[7, 26, 25], [255, 0, 31]], dtype=np.uint8)
    for number in range(count):
        save(root / "training" / "image_2" / f"{number:06d}_10.png", IMAGE)
        save(root / "training" / "semantic" / f"{number:06d}_10.png", ids)
        save(root / "training" / "semantic_rgb" / f"{number:06d}_10.png", IMAGE)
    return root


# MA and HE overlap in the marked pixel of the first row; nothing is a soft exudate.
IDRID_MASKS = {
    "1. Microaneurysms/{}_MA.tif": MASK,
    "2. Haemorrhages/{}_HE.tif": np.array([[0, 1, 1], [0, 0, 0]], dtype=np.uint8),
    "3. Hard Exudates/{}_EX.tif": np.array([[0, 0, 0], [1, 0, 0]], dtype=np.uint8),
    "4. Soft Exudates/{}_SE.tif": None,
    "5. Optic Disc/{}_OD.tif": np.array([[1, 0, 0], [0, 0, 0]], dtype=np.uint8),
}


def make_idrid(root: Path, *, training: range = range(1, 7), testing: range = range(55, 58)) -> Path:
    home = root / "A. Segmentation"
    for part, numbers in (("a. Training Set", training), ("b. Testing Set", testing)):
        for number in numbers:
            name = f"IDRiD_{number:02d}"
            save(home / "1. Original Images" / part / f"{name}.jpg", IMAGE)
            for file, mask in IDRID_MASKS.items():
                path = home / "2. All Segmentation Groundtruths" / part / file.format(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                if mask is not None:
                    red_palette(mask).save(path)
    (home / "LICENSE.txt").write_text("CC BY 4.0")
    return home


def red_palette(mask: np.ndarray) -> Image.Image:
    """A palette image as IDRiD's masks are: entry 0 black, entry 1 a red so dark that a grey conversion loses it."""
    picture = Image.fromarray(mask)
    picture.putpalette([0, 0, 0, 1, 0, 0])
    return picture


def make_simple(root: Path, names: tuple[str, ...], *, labels: str = "masks", mask: np.ndarray = MASK) -> Path:
    for name in names:
        save(root / "images" / f"{name}.jpg", IMAGE)
        save(root / labels / f"{name}.png", mask)
    return root


def make_lesions(folder: Path, size: Sequence[int], count: int = 8) -> Path:
    """Pictures of (columns, rows) with four discs of each of four lesion types, in the simple layout."""
    rng = np.random.default_rng(0)
    shape = size[::-1]
    y, x = np.mgrid[: shape[0], : shape[1]]
    for index in range(count):
        image, mask = rng.integers(40, 80, (*shape, 3)), np.zeros(shape)
        for lesion in np.repeat(np.arange(1, 5), 4):
            disc = (y - rng.integers(shape[0])) ** 2 + (x - rng.integers(shape[1])) ** 2 < (4 * lesion) ** 2
            mask[disc] = lesion
            image[disc] += [30 * lesion, 40, 10 * lesion]
        for part, values in (("images", image), ("masks", mask)):
            save(folder / part / f"eye{index}.png", values.clip(0, 255).astype(np.uint8))
    return folder
