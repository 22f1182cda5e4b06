"""MONAI's supervised trainer, for a training stage that must not end without having trained."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

from monai.engines.trainer import SupervisedTrainer

from monai_dis.errors import DataError

__all__ = ["StageTrainer", "cases_per_batch"]


class StageTrainer(SupervisedTrainer):
    """MONAI's ``SupervisedTrainer``, which refuses an epoch without a batch; ignite would end it with a warning.

    Arguments as for ``SupervisedTrainer``.
    """

    def run(self) -> None:  # type: ignore[override]
        """Train.

        Raises:
            DataError: when the loader has no whole batch, or the stage ended without having seen one.
        """
        loader: Any = self.data_loader
        if isinstance(loader, Sized) and len(loader) == 0:
            cases, batch = len(getattr(loader, "dataset", ())), getattr(loader, "batch_size", None)
            have = "there is 1 case" if cases == 1 else f"there are {cases} cases"
            raise DataError(
                f"{have} to train on and a batch takes {batch}, so that an epoch would have no step; label more cases, or lower "
                "batch_size, which counts windows (such as --set batch_size=2)."
            )
        super().run()
        if not self.state.iteration:
            raise DataError("training ended without a single step; ask for 1 epoch of 1 step at least.")


def cases_per_batch(batch_size: int, windows_per_image: int) -> int:
    """Cases that a loader puts into a batch of so many windows.

    Raises:
        DataError: when a batch does not hold the windows of one case.

    Example:
        >>> cases_per_batch(8, 2)
        4
    """
    if batch_size < windows_per_image:
        raise DataError(
            f"batch_size is {batch_size}, and {windows_per_image} windows are drawn from each case; make it "
            f"{windows_per_image} or more."
        )
    return batch_size // windows_per_image
