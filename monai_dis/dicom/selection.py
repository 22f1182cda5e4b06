"""What a user selects: series by number, UID, description or protocol, volumes and slices by any other attribute.

Numbers are compared as numbers, texts without regard to case; ``*`` stands for any characters and ``?`` for one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from monai_dis.dicom.instance import Instance
from monai_dis.dicom.values import text

__all__ = ["SERIES_KEYWORDS", "matches", "of_planes", "of_series", "takes_series"]

#: Attributes that all images of a series share; every other one chooses among its planes.
SERIES_KEYWORDS = ("SeriesNumber", "SeriesInstanceUID", "SeriesDescription", "ProtocolName")


def matches(value: str, wanted: str) -> bool:
    """Whether a value is the wanted one."""
    try:
        return float(value) == float(wanted)
    except ValueError:
        # Not fnmatch: descriptions hold brackets, which mean themselves here.
        pattern = "".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in wanted.strip())
        return re.fullmatch(pattern, value.strip(), re.IGNORECASE | re.DOTALL) is not None


def of_series(selection: Mapping[str, str]) -> dict[str, str]:
    """The part of a selection that chooses series."""
    return {keyword: value for keyword, value in selection.items() if keyword in SERIES_KEYWORDS}


def of_planes(selection: Mapping[str, str]) -> dict[str, str]:
    """The part of a selection that chooses among the planes of a series."""
    return {keyword: value for keyword, value in selection.items() if keyword not in SERIES_KEYWORDS}


def takes_series(selection: Mapping[str, str], image: Instance, number: int) -> bool:
    """Whether the series of an image is selected; ``number`` stands for a Series Number that is none."""
    known = {keyword: text(image.header, keyword) for keyword in SERIES_KEYWORDS} | {"SeriesNumber": str(number)}
    return all(matches(known[keyword], wanted) for keyword, wanted in of_series(selection).items())
