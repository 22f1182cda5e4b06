"""One budget for a whole cohort: windows of all studies compete, so that hard cases get more than easy ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

from monai_dis.cohort.survey import Survey
from monai_dis.errors import BudgetError

__all__ = ["shares_of"]


def shares_of(surveys: Mapping[str, Sequence[Survey]], share: float) -> dict[str, tuple[float, ...]]:
    """What each image may spend on windows, as a share of its own full pass.

    The coarse passes and scores are paid first, from the same budget. Then the window goes next that is expected to gain most, of
    whichever image; of equal ones that with the higher score, then that of the study that was named first. Windows that are expected to
    lose are left.

    Args:
        surveys: of the images of each study.
        share: of the full passes of all images together.

    Returns:
        a share for each image, without its coarse pass; 0 where nothing is refined.

    Raises:
        BudgetError: when the share is negative, or does not pay the coarse passes.

    Example:
        >>> hard, easy = Survey((3.0, 2.0), (3.0, 2.0), 10, 5, 0, 100.0), Survey((1.0,), (1.0,), 10, 5, 0, 100.0)
        >>> shares_of({"hard": [hard], "easy": [easy]}, 0.15)
        {'hard': (0.2,), 'easy': (0.0,)}
    """
    if not share >= 0:
        raise BudgetError(f"the cohort's share of operations must be 0 or more, got {share!r}.")
    images = [(name, each) for name, several in surveys.items() for each in several]
    left = share * sum(each.full_pass for _, each in images) - sum(each.paid for _, each in images)
    if left < 0:
        paid = sum(each.paid for _, each in images) / max(1.0, sum(each.full_pass for _, each in images))
        raise BudgetError(
            f"the coarse passes alone cost {paid:.4f} of the full passes, more than the cohort's budget of {share:g}; give more."
        )
    windows = [0] * len(images)
    following = [key for number, (_, each) in enumerate(images) for key in _next(each, 0, number)]
    heapify(following)
    while following:
        *_, number = heappop(following)
        each = images[number][1]
        price = each.window + (each.toll if windows[number] == 0 else 0)
        if price > left:
            continue
        left -= price
        windows[number] += 1
        for key in _next(each, windows[number], number):
            heappush(following, key)
    found: dict[str, tuple[float, ...]] = dict.fromkeys(surveys, ())
    for count, (name, each) in zip(windows, images, strict=True):
        spent = count * each.window + each.toll if count else 0
        found[name] = (*found[name], spent / each.full_pass if each.full_pass else 0.0)
    return found


def _next(survey: Survey, window: int, number: int) -> list[tuple[float, float, int]]:
    """Where a window of an image stands in the queue, the first one first; nowhere when there is none, or it would lose."""
    if window >= len(survey.gains) or survey.gains[window] < 0:
        return []
    return [(-survey.gains[window], -survey.scores[window], number)]
