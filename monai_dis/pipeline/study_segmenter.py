"""The unit of work of every engine: a bundle with its weights, loaded once, that segments a study a call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from monai_dis.data.output_folder import prepare_folder
from monai_dis.errors import DataError
from monai_dis.pipeline.device import PeakMemory
from monai_dis.pipeline.find import find_studies
from monai_dis.pipeline.fingerprint import absolute
from monai_dis.pipeline.ledger import Ledger
from monai_dis.pipeline.model import Model
from monai_dis.pipeline.options import RunSettings
from monai_dis.pipeline.record import Record
from monai_dis.pipeline.run import output_in_use
from monai_dis.pipeline.steps import Steps
from monai_dis.pipeline.study import Job, Study

__all__ = ["StudySegmenter"]


class StudySegmenter:
    """Segments studies with a bundle, one a call.

    The same study, bundle and settings give the same files, and a study that is done is recognised by the ledger of the output folder and
    not touched again, whoever did it. Calls are made one after the other.

    Args:
        settings: what it is made from, or name or folder of a bundle.

    Raises:
        DisError: one of its subclasses, when the bundle or a setting cannot be used.

    Example:
        >>> segment = StudySegmenter("fundus_vessels_dis")  # doctest: +SKIP
        >>> segment("eye.jpg", "out").status  # doctest: +SKIP
        'done'
    """

    def __init__(self, settings: RunSettings | str) -> None:
        self.settings = settings if isinstance(settings, RunSettings) else RunSettings(settings)
        if self.settings.threads is not None:
            torch.set_num_threads(self.settings.threads)
        self.model = Model.open(self.settings.bundle, self.settings.overrides)
        self._ledgers: dict[Path, Ledger] = {}

    def __call__(self, study: Study | str | Path, output: str | Path, stem: str = "") -> Record:
        """Segment a study, unless that was done.

        Args:
            study: of `monai_dis.pipeline.find_studies`, or the path of one study or image.
            output: folder of the results; made when missing.
            stem: with which the names of its files begin, where a run has named its studies already.

        Returns:
            what became of it; also in the ledger.

        Raises:
            DataError: when a path holds several studies.
            OutputError: when the folder cannot be written.
        """
        folder = absolute(output)
        if folder not in self._ledgers:
            self._ledgers[folder] = Ledger(prepare_folder(folder))
        ledger, options = self._ledgers[folder], self.settings.options
        one: Any = self._only(study, folder) if isinstance(study, (str, Path)) else study
        if not stem and one.wanted_stem:
            stem = ledger.claim({one.place: one.wanted_stem}, [one.given])[one.place]
        memory = PeakMemory(self.model.device)
        memory.start()
        with output_in_use(folder, clean=False):
            return Steps(Job(self.model, options, memory), ledger).all(one, stem)

    def _only(self, path: str | Path, output: Path) -> Study:
        found = find_studies([path], self.settings.options, output=output)
        if len(found) > 1:
            raise DataError(f"{path} holds {len(found)} studies; give them one by one, or the list of find_studies.")
        return found[0]
