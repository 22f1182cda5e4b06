"""Several scenes in one file: pieces of tissue on one glass, or wells of a plate, each a picture of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from monai_dis.errors import ImageError

__all__ = ["ALL_SCENES", "chosen_scene", "planes_sentence"]

#: In place of a number: each of them, with results of its own.
ALL_SCENES = "all"
_LISTED = 12

Scene = TypeVar("Scene")


def chosen_scene(path: Path, scenes: Sequence[Scene], number: int | None, name: Callable[[Scene], str]) -> Scene:
    """One of the scenes of a file.

    Args:
        path: of the file, for messages.
        scenes: one at least.
        number: from 1; may be left out where there is one.
        name: what a scene is called in a message.

    Raises:
        ImageError: when it is not clear which is meant, or there is none of this number.
    """
    if number is None and len(scenes) == 1:
        return scenes[0]
    if number is not None and 1 <= number <= len(scenes):
        return scenes[number - 1]
    listed = ", ".join(f"{place}: {name(each)}" for place, each in enumerate(scenes[:_LISTED], start=1))
    more = ", ..." if len(scenes) > _LISTED else ""
    several = f"{len(scenes)} scenes" if len(scenes) > 1 else "one scene"
    ask = "choose one with --scene NUMBER, or all with --scene all" if number is None else f"there is no scene {number}"
    raise ImageError(f"{path} holds {several} ({listed}{more}); {ask}.")


def planes_sentence(path: Path, axes: Mapping[str, int]) -> str:
    """Why a file with depths, times or other axes is refused.

    Args:
        path: of the file.
        axes: their lengths by their letters.

    Example:
        >>> planes_sentence(Path("a.tif"), {"Z": 5, "Y": 64, "X": 64})
        'a.tif has axes of 5 depths (Z); a slide is one plane at one time: save the one to segment as a file of its own.'
    """
    names = {"Z": "depths", "T": "times"}
    others = [
        f"{length} {names.get(axis.upper(), 'pictures')} ({axis.upper()})"
        for axis, length in axes.items()
        if length > 1 and axis.upper() not in "YXSC"
    ]
    found = " and ".join(others) or ", ".join(axes)
    return (
        f"{path} has axes of {found}; a slide is one plane at one time: save the one to segment as a file of its own."
    )
