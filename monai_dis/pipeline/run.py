"""Run studies: found, named, answered and recorded by one function, in this process or on the workers of a cluster.

While one study is in the network, the next is read and the last is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai_dis.data.locks import LOCK_PREFIX, locked, locked_alone
from monai_dis.data.output_folder import prepare_folder, remove_leftovers
from monai_dis.errors import DicomError, DisError, ImageError
from monai_dis.pipeline.device import PeakMemory
from monai_dis.pipeline.find import find_studies
from monai_dis.pipeline.ledger import Ledger
from monai_dis.pipeline.model import Model
from monai_dis.pipeline.options import Options
from monai_dis.pipeline.overlapping import overlapped
from monai_dis.pipeline.record import Record
from monai_dis.pipeline.report import Report, Shard
from monai_dis.pipeline.steps import Steps
from monai_dis.pipeline.study import Job, Progress, Study

__all__ = ["Executor", "OnRecord", "in_this_process", "output_in_use", "raise_failures", "run"]

#: Told how many studies are done, of how many, and what became of the last.
OnRecord = Callable[[int, int, Record], None]
#: Takes studies and their stems; gives a record for each as it ends, in any order.
Executor = Callable[[Sequence[tuple[Study, str]], Ledger], Iterable[Record]]


def run(
    inputs: Sequence[str | Path],
    output: str | Path,
    executor: Executor,
    *,
    options: Options,
    settings: dict[str, Any],
    shard: Shard | None = None,
    on_record: OnRecord | None = None,
) -> Report:
    """Segment whatever inputs hold; a study that fails does not stop the others.

    Args:
        inputs: image files, slides, DICOM studies, and folders of all of these.
        output: folder of the results; made when missing.
        executor: `in_this_process`, or that of a cluster.
        options: how studies are taken and what is written.
        settings: what results depend on besides the studies, for the report.
        shard: ``(i, n)`` to do the i-th of n shares only, beside other runs that do the others.
        on_record: told of each study as it ends.

    Returns:
        the report, which is written.

    Raises:
        OutputError: when the output folder cannot be written.
        DataError: when nothing is given.
    """
    folder = prepare_folder(output)
    with output_in_use(folder):
        ledger = Ledger(folder)
        studies = find_studies(inputs, options, output=folder)
        stems = ledger.claim(
            {each.place: each.wanted_stem for each in studies if each.wanted_stem}, [each.given for each in studies]
        )
        if shard is not None:
            studies = studies[shard[0] - 1 :: shard[1]]
        report = Report(ledger, settings, shard)
        if shard is not None and not studies:
            report.write()
        named = [(each, stems.get(each.place, "")) for each in studies]
        for number, record in enumerate(executor(named, ledger), start=1):
            report.add(record)
            if on_record is not None:
                on_record(number, len(studies), record)
        order = {each.place: number for number, each in enumerate(studies)}
        report.records.sort(key=lambda record: order[record.place])
        report.finish()
        return report


def in_this_process(model: Model, options: Options, progress: Progress | None = None) -> Executor:
    """An executor that overlaps reading, the network and writing in this process."""

    def execute(studies: Sequence[tuple[Study, str]], ledger: Ledger) -> Iterator[Record]:
        # The mark of the whole process: what several studies at once need counts for each.
        memory = PeakMemory(model.device)
        memory.start()
        job = Job(model, options, memory) if progress is None else Job(model, options, memory, progress)
        steps = Steps(job, ledger)
        return overlapped(
            studies,
            lambda each: steps.read(*each),
            lambda _, going: steps.work(going),
            lambda _, going: steps.write(going),
        )

    return execute


@contextmanager
def output_in_use(folder: Path, *, clean: bool = True) -> Iterator[None]:
    """Mark an output folder as in use, so that nobody cleans it; clean it before and after where no other run uses it."""
    mark = folder / f"{LOCK_PREFIX}in-use"
    if clean:
        _clean(folder, mark)
    with locked(mark, shared=True):
        yield
    if clean:
        _clean(folder, mark)


def _clean(folder: Path, mark: Path) -> None:
    with locked_alone(mark) as alone:
        if alone:
            remove_leftovers(folder, keep=mark)


def raise_failures(report: Report) -> None:
    """Raise when studies were refused or failed.

    Raises:
        DicomError: when all of these are DICOM studies.
        ImageError: otherwise. The message is the sentence of the one study, or names all.
    """
    bad = [each for each in report.records if each.status not in ("done", "skipped")]
    if not bad:
        return
    error: type[DisError] = DicomError if all(each.kind == "dicom" for each in bad) else ImageError
    if len(report.records) == 1:
        raise error(str(bad[0].reason))
    noun = "studies" if any(each.kind == "dicom" for each in report.records) else "images"
    sentences = "\n".join(f"  {each.reason}" for each in bad)
    raise error(f"{len(bad)} of {len(report.records)} {noun} could not be segmented:\n{sentences}")
