"""The poster's experiment, whole: training, evaluation, figures.

Names are loaded when they are first used: the training configs need the numbers of the experiment alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_dis.engines.reproduce.experiment import Experiment
    from monai_dis.engines.reproduce.results import Results
    from monai_dis.engines.reproduce.run import reproduce, run_experiment

__all__ = ["Experiment", "Results", "reproduce", "run_experiment"]

_HOMES = {"Experiment": "experiment", "Results": "results", "reproduce": "run", "run_experiment": "run"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"monai_dis.engines.reproduce.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
