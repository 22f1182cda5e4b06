"""What the bundle configs name: segmentation, evaluation, training and the poster's experiment.

The names below are loaded when they are first used, so that one engine does not import the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai_dis.lazy import lazy_names

if TYPE_CHECKING:
    from monai_dis.engines.calibration import calibrate
    from monai_dis.engines.checkpoint import ResumingCheckpoint
    from monai_dis.engines.click_step import ClickStep
    from monai_dis.engines.evaluate import Evaluation
    from monai_dis.engines.gain_curves import fit_gain_curves, read_gain_curve
    from monai_dis.engines.lesion_evaluation import LesionEvaluation
    from monai_dis.engines.recipe import assemble, run_stages
    from monai_dis.engines.schedule import OneCycle
    from monai_dis.engines.stacking import fit_stack
    from monai_dis.engines.stage_files import export_weights
    from monai_dis.engines.stage_maps import with_maps, write_coarse, write_gain, write_refined
    from monai_dis.engines.stage_trainer import StageTrainer, cases_per_batch
    from monai_dis.engines.temperature import calibrate_temperature
    from monai_dis.engines.training_step import TrainingStep
    from monai_dis.pipeline import Segmenter
    from monai_dis.pipeline.device import pick_device

__all__ = [
    "ClickStep",
    "Evaluation",
    "LesionEvaluation",
    "OneCycle",
    "ResumingCheckpoint",
    "Segmenter",
    "StageTrainer",
    "TrainingStep",
    "assemble",
    "calibrate",
    "calibrate_temperature",
    "cases_per_batch",
    "export_weights",
    "fit_gain_curves",
    "fit_stack",
    "pick_device",
    "read_gain_curve",
    "run_stages",
    "with_maps",
    "write_coarse",
    "write_gain",
    "write_refined",
]

_HOMES = {
    "ClickStep": "click_step",
    "Evaluation": "evaluate",
    "LesionEvaluation": "lesion_evaluation",
    "OneCycle": "schedule",
    "ResumingCheckpoint": "checkpoint",
    "Segmenter": "monai_dis.pipeline.segmenter",
    "StageTrainer": "stage_trainer",
    "TrainingStep": "training_step",
    "assemble": "recipe",
    "calibrate": "calibration",
    "calibrate_temperature": "temperature",
    "cases_per_batch": "stage_trainer",
    "export_weights": "stage_files",
    "fit_gain_curves": "gain_curves",
    "fit_stack": "stacking",
    "pick_device": "monai_dis.pipeline.device",
    "read_gain_curve": "gain_curves",
    "run_stages": "recipe",
    "with_maps": "stage_maps",
    "write_coarse": "stage_maps",
    "write_gain": "stage_maps",
    "write_refined": "stage_maps",
}

__getattr__ = lazy_names(__name__, _HOMES)
