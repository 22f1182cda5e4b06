"""Everything that `benchmarks/speed.py` measures, as one list of its own commands."""

from __future__ import annotations

from pathlib import Path

__all__ = ["plan"]


def plan(data: Path) -> list[list[str]]:
    """Commands in their order; each runs in a process of its own.

    Args:
        data: folder of the data sets, under their names: ``la2018``, ``chaos_mr``, ``ct_ircad17``, ``idrid``, ``ph2``.
    """
    atrium, organs, series = data / "la2018", data / "chaos_mr", data / "ct_ircad17" / "series"
    photograph, volume = _first(data / "ph2" / "images"), _first(atrium / "images")
    return [
        ["overhead", "--clock", "cpu"],
        ["overhead", "--clock", "cpu", "--image2d", photograph, "--image3d", volume],
        ["growth", "--clock", "cpu"],
        ["volumes", "--size", "256", "256", "256", "--classes", "2", "16", "105"],
        ["volumes", "--size", "512", "512", "400", "--classes", "16", "105"],
        ["volumes", "--data", str(series), "--classes", "2", "16"],
        ["bundles", "--bundle", "left_atrium_mr_dis", "--data", str(atrium)],
        ["bundles", "--bundle", "abdominal_organs_mr_dis", "--data", str(organs)],
        ["profile", "--bundle", "left_atrium_mr_dis", "--study", volume],
        ["profile", "--bundle", "abdominal_organs_mr_dis", "--study", _first(organs / "images")],
        ["profile", "--bundle", "fundus_lesions_dis", "--study", _first(data / "idrid" / "images")],
        ["profile", "--bundle", "skin_lesion_dis", "--study", str(series)],
        ["write"],
    ]


def _first(folder: Path) -> str:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    if not files:
        raise SystemExit(f"{folder} is empty or not there; give --data the folder that holds the data sets.")
    return str(files[0])
