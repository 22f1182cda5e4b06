"""How results present themselves: descriptions, series numbers, the statement on their use (O5, O8)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LONGEST_LO", "LONGEST_SH", "MANUFACTURER", "RESEARCH_USE", "Presentation"]

#: Stands in every result unless a site sets its own text.
RESEARCH_USE = "Research use only. Not for diagnosis."
MANUFACTURER = "monai_dis contributors"
#: Characters that the value representations LO and SH hold.
LONGEST_LO, LONGEST_SH = 64, 16


@dataclass(frozen=True)
class Presentation:
    """How a result presents itself.

    Attributes:
        statement: in the descriptions of series and content, 64 characters at most.
        seg_series_number: of the series of segmentations.
        sr_series_number: of the series of measurements.
        uncertainty_series_number: of the series of what stays uncertain.
        relaxed: codes of findings that a site relaxed; named in the series description.
    """

    statement: str = RESEARCH_USE
    seg_series_number: int = 9001
    sr_series_number: int = 9002
    uncertainty_series_number: int = 9003
    relaxed: tuple[str, ...] = ()

    def series_description(self, kind: str) -> str:
        """Description of a series, 64 characters at most."""
        short = "research use only" if self.statement == RESEARCH_USE else self.statement
        relaxed = f", relaxed {' '.join(self.relaxed)}" if self.relaxed else ""
        return f"{kind} monai_dis, {short}{relaxed}"[:LONGEST_LO]
