"""The poster's experiment, whole: training, evaluation, figures."""

from __future__ import annotations

from monai_dis.engines.reproduce.experiment import Experiment
from monai_dis.engines.reproduce.results import Results
from monai_dis.engines.reproduce.run import reproduce, run_experiment

__all__ = ["Experiment", "Results", "reproduce", "run_experiment"]
