"""How far a case is: open, submitted, approved or returned, as the review of its final label says.

The words are those of MONAILabelReviewer, which says ``approved`` or ``flagged`` in a label's ``segmentationMeta``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

__all__ = ["ReviewState", "counts", "state_of"]


class ReviewState(str, Enum):
    """How far a case is.

    Attributes:
        OPEN: it has no final label.
        SUBMITTED: a reader has submitted one.
        APPROVED: a reviewer has approved it.
        RETURNED: a reviewer has sent it back; it is offered again, and training leaves it out.
    """

    OPEN = "open"
    SUBMITTED = "submitted"
    APPROVED = "approved"
    RETURNED = "returned"

    @property
    def is_done(self) -> bool:
        """Whether nobody needs to label the case any more."""
        return self in (ReviewState.SUBMITTED, ReviewState.APPROVED)


_STATUS = {"approved": ReviewState.APPROVED, "flagged": ReviewState.RETURNED, "returned": ReviewState.RETURNED}


def state_of(final: Mapping[str, Any] | None) -> ReviewState:
    """The state of a case.

    Args:
        final: what is known of its final label; None where it has none.

    Example:
        >>> state_of({"segmentationMeta": {"status": "flagged"}}).value
        'returned'
    """
    if final is None:
        return ReviewState.OPEN
    review = final.get("segmentationMeta")
    status = review.get("status") if isinstance(review, Mapping) else None
    return _STATUS.get(str(status).lower(), ReviewState.SUBMITTED)


def counts(states: Iterable[ReviewState]) -> dict[str, int]:
    """How many cases are in each state."""
    found = Counter(states)
    return {state.value: found[state] for state in ReviewState}
