"""Run a cohort on the workers of Dask: a cluster of this machine's, or any that exists.

What travels is small: settings and names of files to the workers, records back. Workers read studies and write results themselves, on
storage that they share. Each keeps one unit of work, so weights are loaded once a worker, and does one study at a time.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from monai_dis.cohort.manifest import Manifest
from monai_dis.cohort.record import StudyRecord
from monai_dis.cohort.shared_budget import shares_of
from monai_dis.cohort.study import CohortStudy
from monai_dis.cohort.survey import Survey
from monai_dis.cohort.unit import StudySegmenter, UnitSettings
from monai_dis.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ATTEMPTS", "connected", "local_cluster", "run_on_dask", "threads_each"]

#: How often a study is tried that kills its worker, before it is set aside.
ATTEMPTS = 3
_PATIENCE_S = 60.0
_TICK_S = 0.05

logger = logging.getLogger(__name__)

OnRecord = Callable[[int, int, StudyRecord], None]


def run_on_dask(
    cohort: Sequence[CohortStudy],
    settings: UnitSettings,
    output: Path,
    client: Client,
    on_record: OnRecord | None = None,
    share: float | None = None,
) -> list[StudyRecord]:
    """Segment the studies of a cohort.

    No more studies are with the workers than they can do at once; the others wait here as names. A study whose worker dies is tried
    again by another. One that was with a worker each time it died is tried once more at the end, alone, and then set aside with its
    reason, so that a neighbour's death is nobody's fault.

    Args:
        cohort: of `monai_dis.cohort.find_cohort`; paths must mean the same to the workers.
        settings: of the unit.
        output: folder that the workers can write to.
        client: of a cluster.
        on_record: called with how many are done, of how many, and the record of the last.
        share: of the full passes of all studies together, to be spent where most is expected of it; None leaves each study the
            bundle's own budget.

    Returns:
        a record for each study, in order.

    Raises:
        DisError: what no study is to blame for, such as a full disk or a bundle that is not there.
        ClusterError: when the cluster has no worker.
    """
    manifest = Manifest(output)
    records: dict[str, StudyRecord] = {}

    def keep(record: StudyRecord) -> None:
        records[record.study] = record
        if on_record is not None:
            on_record(len(records), len(cohort), record)

    slots, shares = _slots(client), {}
    if share is not None:
        surveys: dict[str, Any] = {study.name: () for study in cohort}
        # Whoever kills its worker here does so again below, and is set aside there.
        _run(
            client,
            cohort,
            lambda s: client.submit(_survey, settings, s, str(output), pure=False),
            slots,
            surveys.__setitem__,
        )
        shares = shares_of(surveys, share)

    def segment(study: CohortStudy) -> Any:
        # Without a survey there is nothing to share out: such a study says what is wrong with it when it is segmented.
        own = shares.get(study.name) or None
        return client.submit(_segment, settings, study, str(output), own, pure=False)

    suspects = _run(client, cohort, segment, slots, lambda name, record: keep(record))
    for study in suspects:
        if _run(client, [study], segment, 1, lambda name, record: keep(record)):
            keep(_set_aside(study, manifest))
    return [records[study.name] for study in cohort]


def _run(
    client: Client,
    cohort: Sequence[CohortStudy],
    submit: Callable[[CohortStudy], Any],
    at_once: int,
    keep: Callable[[str, Any], None],
) -> list[CohortStudy]:
    """Do something with studies, so many at once; returns those whose workers died."""
    from distributed import KilledWorker

    waiting = iter(cohort)
    going: dict[Any, CohortStudy] = {}
    suspects: list[CohortStudy] = []
    alive = time.monotonic()
    while True:
        while len(going) < at_once and (study := next(waiting, None)) is not None:
            going[submit(study)] = study
        if not going:
            return suspects
        ended = [future for future in going if future.status != "pending"]
        for future in ended:
            study = going.pop(future)
            try:
                keep(study.name, future.result())
            except KilledWorker:
                suspects.append(study)
            future.release()
        if ended:
            alive = time.monotonic()
            continue
        if time.monotonic() - alive > _PATIENCE_S:
            if not client.scheduler_info(n_workers=-1)["workers"]:
                _revive(client, at_once)
            alive = time.monotonic()
        time.sleep(_TICK_S)


def _revive(client: Client, workers: int) -> None:
    """Start the workers of a cluster of ours anew: one that dies while it starts is not always started again by Dask.

    Raises:
        ClusterError: when the cluster is not ours to start.
    """
    if client.cluster is None:
        raise ClusterError(
            f"the cluster has had no worker for {_PATIENCE_S:g} s; start some and run this again: what is done stays done."
        )
    logger.warning("no worker is left; starting %d anew", workers)
    client.cluster.scale(0)
    client.cluster.scale(workers)


def _segment(settings: UnitSettings, study: CohortStudy, output: str, shares: tuple[float, ...] | None) -> StudyRecord:
    """What a worker runs."""
    with _ONE_AT_A_TIME:
        return _unit(settings)(study, output, shares)


def _survey(settings: UnitSettings, study: CohortStudy, output: str) -> tuple[Survey, ...]:
    """What a worker runs before, where a cohort has one budget."""
    with _ONE_AT_A_TIME:
        return _unit(settings).survey(study, output)


#: A worker may have several threads; its unit does one study at a time.
_ONE_AT_A_TIME = Lock()
_UNITS: dict[str, StudySegmenter] = {}


def _unit(settings: UnitSettings) -> StudySegmenter:
    """The unit of this process: weights are loaded once, and again when another run asks for other settings."""
    key = repr(settings)
    if key not in _UNITS:
        _UNITS.clear()
        _UNITS[key] = StudySegmenter(_on_own_device(settings))
    return _UNITS[key]


def _on_own_device(settings: UnitSettings) -> UnitSettings:
    """Of several GPUs a worker takes one, by its place among the workers of the cluster."""
    import torch
    from distributed import get_worker

    if not torch.cuda.is_available() or settings.overrides.get("device", "auto") not in ("auto", "cuda"):
        return settings
    name = get_worker().name
    place = int(name) if str(name).isdigit() else sum(str(name).encode())
    return replace(settings, overrides={**settings.overrides, "device": f"cuda:{place % torch.cuda.device_count()}"})


def _set_aside(study: CohortStudy, manifest: Manifest) -> StudyRecord:
    record = StudyRecord(
        study.name,
        study.fingerprint(),
        "",
        "crashed",
        reason=f"{study.name} killed the process that segmented it, {ATTEMPTS} times and once more alone; "
        "it may need more memory than a worker has.",
    )
    manifest.append(record)
    return record


def _slots(client: Client) -> int:
    """Studies that the workers can do at once."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        client.wait_for_workers(1, timeout=60)
        workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        raise ClusterError("the cluster has no worker; start some, or leave out --cluster and give --workers.")
    return len(workers)


@contextmanager
def local_cluster(workers: int) -> Iterator[Client]:
    """A cluster of processes on this machine, which nobody outside it can reach; it ends with the block, or with this process.

    Raises:
        ClusterError: when Dask is not installed.
    """
    distributed, dask = _dask()
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": ATTEMPTS - 1}),
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """A client of a cluster that exists.

    Args:
        address: such as ``tcp://host:8786``, or a scheduler file.

    Raises:
        ClusterError: when Dask is not installed.
        ClusterError: when the cluster does not answer.
    """
    distributed, _ = _dask()
    file = Path(address)
    given = {"scheduler_file": str(file)} if file.is_file() else {"address": address}
    try:
        client = distributed.Client(**given, timeout="20s")
    except (OSError, ValueError, TimeoutError) as error:
        raise ClusterError(
            f"there is no Dask cluster at {address}; give the address of its scheduler (tcp://host:port) or a scheduler file."
        ) from error
    with client:
        yield client


def threads_each(workers: int) -> int:
    """Threads for each of several workers on this machine, so that they do not fight for its cores."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, available // workers)


def _dask() -> tuple[Any, Any]:
    try:
        import dask
        import distributed
    except ImportError as error:
        raise ClusterError(
            'several workers need dask and distributed; install them with `pip install "monai-dis[cluster]"`.'
        ) from error
    return distributed, dask
