"""Rows of an evaluation, one an image: an image that fails has its error there, and the others go on."""

from __future__ import annotations

import logging
import statistics as stats
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from monai_dis.errors import DisError, ImageError

__all__ = ["Row", "errors_into", "raise_failures", "summarise"]

logger = logging.getLogger(__name__)

Row = dict[str, Any]


@contextmanager
def errors_into(row: Row, name: str) -> Iterator[None]:
    """Put what goes wrong in the block into the row, as a sentence about the image of this name."""
    try:
        yield
    except DisError as error:
        row["error"] = str(error)
    except Exception as error:  # one strange file must not cost a night's work
        logger.debug("unexpected error on %s", name, exc_info=True)
        row["error"] = f"{name} could not be evaluated ({type(error).__name__}: {error})"


def raise_failures(rows: Sequence[Row]) -> None:
    """Raise one error for all rows with an ``error``, once the others are written.

    Raises:
        ImageError: when there is one.
    """
    failed = [row["error"] for row in rows if row.get("error")]
    if failed:
        raise ImageError(
            f"{len(failed)} of {len(rows)} images could not be evaluated:\n" + "\n".join(f"  {m}" for m in failed)
        )


def summarise(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean, standard deviation (of a sample) and median of the finite values, and how many they are.

    Example:
        >>> summarise([1.0, 3.0, float("nan")])
        {'mean': 2.0, 'std': 1.4142135623730951, 'median': 2.0, 'count': 2}
    """
    known = [float(value) for value in values if value is not None and abs(value) != float("inf") and value == value]
    if not known:
        return {"mean": None, "std": None, "median": None, "count": 0}
    spread = stats.stdev(known) if len(known) > 1 else 0.0
    return {"mean": stats.fmean(known), "std": spread, "median": stats.median(known), "count": len(known)}
