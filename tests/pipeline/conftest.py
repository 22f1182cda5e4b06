"""Fixtures of cohorts: a small bundle, pictures for it, and one that kills whoever reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_bundle import disc, photo, tiny_bundle, write_tiny_bundle

__all__ = ["deadly_bundle", "photo", "pictures", "tiny_bundle"]

KILLS = "$lambda image: os.kill(os.getpid(), 9) if float(image.max()) < 5 else image"


@pytest.fixture(scope="session")
def deadly_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle, whose preprocessing ends its process on a picture that is nearly black."""
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("deadly"))
    file = bundle / "configs" / "inference.yaml"
    text = file.read_text().replace("imports:\n", "imports:\n- $import os\n")
    read = "  - {_target_: monai_dis.data.ReadImaged, keys: image}\n"
    assert read in text
    file.write_text(text.replace(read, f'{read}  - {{_target_: Lambdad, keys: image, func: "{KILLS}"}}\n'))
    return bundle


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six pictures, a broken one and a deadly one."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(6):
        Image.fromarray(disc(centre=(20.0 + 10 * number, 30.0))).save(folder / f"photo{number}.png")
    (folder / "photo2b.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((80, 96, 3), np.uint8)).save(folder / "photo3b.png")
    return folder
