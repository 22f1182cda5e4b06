"""Colours that pictures and pages share, chosen to differ for colour-blind readers too."""

from __future__ import annotations

__all__ = ["LINE_COLORS", "Color", "class_color", "hex_color", "level_color", "line_color"]

Color = tuple[int, int, int]

_CLASSES: tuple[Color, ...] = (
    (0, 230, 140),
    (230, 90, 220),
    (90, 200, 255),
    (255, 150, 40),
    (200, 200, 60),
    (255, 90, 90),
)
# M. Okabe and K. Ito, "Color universal design", 2008, without the yellow, which is faint on white.
_LINES: tuple[Color, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (0, 0, 0),
)
# How many lines differ by their colour alone.
LINE_COLORS = len(_LINES)
_LEVELS: tuple[Color, ...] = ((70, 150, 255), (255, 225, 50), (255, 255, 255), (255, 130, 200))


def class_color(index: int) -> Color:
    """Colour of a class; index 1 is the first that is not background."""
    return _CLASSES[(index - 1) % len(_CLASSES)]


def level_color(level: int) -> Color:
    """Colour of the windows of a level; level 1 is the coarsest that has windows."""
    return _LEVELS[(level - 1) % len(_LEVELS)]


def line_color(number: int) -> Color:
    """Colour of a line on white, counted from 0."""
    return _LINES[number % len(_LINES)]


def hex_color(color: Color) -> str:
    """The colour as HTML writes it.

    Example:
        >>> hex_color((255, 0, 16))
        '#ff0010'
    """
    return "#{:02x}{:02x}{:02x}".format(*color)
