"""A folder datastore of the label server, without its server: what its tests share, and a process that submits until it is killed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["make_store", "submit", "submit_for_ever", "write_images"]


def make_store(folder: Path, *, change_images: bool = False) -> Any:
    """The datastore, as the server makes it but for the check of labels, which has tests of its own."""
    from monailabel.datastore.local import LocalDatastore

    from monai_dis.label.kept_labels import KeptLabels

    class Store(KeptLabels, LocalDatastore):  # type: ignore[misc, valid-type]
        pass

    store = Store(str(folder), extensions=["*.png"], auto_reload=False)
    store.may_change_images = change_images
    return store


def write_images(folder: Path, count: int) -> list[str]:
    """Pictures, and their ids."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(folder / f"eye {number}.png")
    return [f"eye {number}" for number in range(count)]


def submit(store: Any, image: str, value: int, folder: Path, **said: Any) -> None:
    """Submit a label that is full of one number."""
    file = folder / "label.png"
    Image.fromarray(np.full((64, 64), value, np.uint8)).save(file, compress_level=0)
    store.save_label(image, str(file), "final", said)


def submit_for_ever(studies: Path, work: Path, first: int, done: int) -> None:
    """Submit, and write what is done to a descriptor, until somebody kills this process."""
    store, number = make_store(studies), first
    images = store.list_images()
    os.write(done, b"ready\n")
    while True:
        number += 1
        submit(store, images[number % len(images)], number % 200 + 1, work, client_id=f"reader {number}")
        os.write(done, f"{number}\n".encode())
