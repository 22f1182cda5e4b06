"""Data sets by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from monai_dis.data.cases import Dataset
from monai_dis.data.chase_db1 import read_chase_db1
from monai_dis.data.drive import read_drive
from monai_dis.data.folder import read_folder
from monai_dis.data.hrf import read_hrf
from monai_dis.data.idrid import read_idrid
from monai_dis.data.kitti import read_kitti
from monai_dis.data.ph2 import read_ph2
from monai_dis.data.retina import read_retina, read_retina_hrf
from monai_dis.data.stare import read_stare
from monai_dis.errors import DataError

__all__ = ["DATASETS", "read_dataset"]

#: Readers by name; ``folder`` is for a user's own data.
DATASETS: Mapping[str, Callable[[str | Path], Dataset]] = MappingProxyType(
    {
        "ph2": read_ph2,
        "retina": read_retina,
        "kitti": read_kitti,
        "drive": read_drive,
        "stare": read_stare,
        "chase_db1": read_chase_db1,
        "hrf": read_hrf,
        "retina_hrf": read_retina_hrf,
        "idrid": read_idrid,
        "folder": read_folder,
    }
)


def read_dataset(name: str, folder: str | Path) -> Dataset:
    """Read a data set from its original folder or from the simple layout.

    Args:
        name: a key of :data:`DATASETS`.
        folder: where the data lie.

    Raises:
        DataError: when the name is unknown, or the folder is missing or has another layout.
    """
    if name not in DATASETS:
        raise DataError(f"there is no reader for a data set {name!r}; choose one of {', '.join(DATASETS)}.")
    return DATASETS[name](folder)
