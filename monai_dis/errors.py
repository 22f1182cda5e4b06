"""Errors of monai_dis: a small hierarchy; every message is a sentence that tells the user what to do."""

from __future__ import annotations

from monai_dis.printable import printable

__all__ = [
    "BackendError",
    "BudgetError",
    "BundleError",
    "ClusterError",
    "DataError",
    "DicomError",
    "DisError",
    "ImageError",
    "LevelError",
    "NetworkError",
    "OutOfMemoryError",
    "OutputError",
]


class DisError(Exception):
    """Base of all errors that a user can mend; the command line prints the message and exits with status 1.

    Args:
        message: may name files of any name.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class BackendError(DisError, ValueError):
    """A runtime that is unknown, not installed, or cannot run the network."""


class BudgetError(DisError, ValueError):
    """A budget that cannot be spent, such as a negative share."""


class LevelError(DisError, ValueError):
    """Levels, windows or scales that do not fit each other or the image."""


class NetworkError(DisError, ValueError):
    """A network whose output does not have the shape or the channels that the run needs."""


class ClusterError(DisError, RuntimeError):
    """A cluster that cannot be reached, or that has no worker."""


class OutOfMemoryError(DisError, RuntimeError):
    """Memory that ran out although batches were made smaller and the answer was moved to the CPU."""


class DataError(DisError, ValueError):
    """A data folder that is missing, empty or of another layout than expected."""


class ImageError(DisError, ValueError):
    """One image that cannot be read or does not fit the network."""


class DicomError(DisError, ValueError):
    """A DICOM input that is not segmented; the message names the codes of what was found, and no person's data."""


class BundleError(DisError, ValueError):
    """A bundle that cannot be found or is incomplete."""


class OutputError(DisError, OSError):
    """An output folder or file that cannot be written."""
