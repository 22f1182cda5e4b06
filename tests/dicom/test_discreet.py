"""What libraries say is kept from view, however many threads ask for it at once."""

from __future__ import annotations

import logging
import threading
import warnings

import pytest

from monai_dis.dicom.extra import discreet


def test_silence_lasts_until_the_last_one_leaves_and_no_longer(caplog: pytest.LogCaptureFixture) -> None:
    """Two threads whose times of silence overlap, neither inside the other, as those of a cohort do."""
    entered, leave = threading.Event(), threading.Event()

    def second() -> None:
        with discreet():
            entered.set()
            assert leave.wait(20)

    logger = logging.getLogger("pydicom")
    level, filters = logger.level, list(warnings.filters)
    with discreet():
        thread = threading.Thread(target=second)
        thread.start()
        assert entered.wait(20)
    logger.error("CANARY")
    with warnings.catch_warnings(record=True) as heard:
        warnings.warn("CANARY", stacklevel=1)
    assert not heard
    leave.set()
    thread.join()
    assert (logger.level, list(warnings.filters)) == (level, filters)
    logger.error("heard again")
    assert caplog.messages == ["heard again"]
