"""Run studies on the workers of Dask: a cluster of this machine's, or any that exists.

What travels is small: settings and names of files to the workers, records back. Workers read studies and write results themselves, on
storage that they share. Each keeps one `StudySegmenter`, so weights are loaded once a worker, and does one study at a time.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from monai_dis.errors import ClusterError
from monai_dis.pipeline.ledger import Ledger
from monai_dis.pipeline.options import RunSettings
from monai_dis.pipeline.record import Record
from monai_dis.pipeline.run import Executor
from monai_dis.pipeline.study import Study
from monai_dis.pipeline.study_segmenter import StudySegmenter

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ATTEMPTS", "connected", "local_cluster", "on_workers", "threads_each"]

#: How often a study is tried that kills its worker, before it is set aside.
ATTEMPTS = 3
_PATIENCE_S = 60.0
_TICK_S = 0.05

logger = logging.getLogger(__name__)

Named = tuple[Study, str]


def on_workers(settings: RunSettings, client: Client) -> Executor:
    """An executor that segments on the workers of a cluster.

    No more studies are with the workers than they can do at once; the others wait here as names. A study whose worker dies is tried
    again by another. One that was with a worker each time it died is tried once more at the end, alone, and then set aside with its
    reason, so that a neighbour's death is nobody's fault.

    Args:
        settings: of the run; paths must mean the same to the workers.
        client: of the cluster.

    Raises:
        ClusterError: by the executor, when the cluster has no worker.
    """

    def execute(studies: Sequence[Named], ledger: Ledger) -> Iterator[Record]:
        suspects: list[Named] = []
        yield from _run(client, settings, studies, ledger, _slots(client), suspects)
        for each in suspects:
            again: list[Named] = []
            yield from _run(client, settings, [each], ledger, 1, again)
            if again:
                yield _set_aside(each[0], ledger)

    return execute


def _run(
    client: Client, settings: RunSettings, studies: Sequence[Named], ledger: Ledger, at_once: int, suspects: list[Named]
) -> Iterator[Record]:
    """Segment studies, so many at once; those whose workers died are added to the suspects."""
    from distributed import KilledWorker

    waiting = iter(studies)
    going: dict[Any, Named] = {}
    alive = time.monotonic()
    while True:
        while len(going) < at_once and (each := next(waiting, None)) is not None:
            going[client.submit(_segment, settings, each, str(ledger.folder), pure=False)] = each
        if not going:
            return
        ended = [future for future in going if future.status != "pending"]
        for future in ended:
            each = going.pop(future)
            try:
                yield future.result()
            except KilledWorker:
                suspects.append(each)
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


def _segment(settings: RunSettings, study: Named, output: str) -> Record:
    """What a worker runs."""
    with _ONE_AT_A_TIME:
        return _segmenter(settings)(study[0], output, study[1])


#: A worker may have several threads; its segmenter does one study at a time.
_ONE_AT_A_TIME = Lock()
_SEGMENTERS: dict[str, StudySegmenter] = {}


def _segmenter(settings: RunSettings) -> StudySegmenter:
    """That of this process: weights are loaded once, and again when another run asks for other settings."""
    key = repr(settings)
    if key not in _SEGMENTERS:
        _SEGMENTERS.clear()
        _SEGMENTERS[key] = StudySegmenter(_on_own_device(settings))
    return _SEGMENTERS[key]


def _on_own_device(settings: RunSettings) -> RunSettings:
    """Of several GPUs a worker takes one, by its place among the workers of the cluster."""
    import torch
    from distributed import get_worker

    if not torch.cuda.is_available() or settings.overrides.get("device", "auto") not in ("auto", "cuda"):
        return settings
    name = get_worker().name
    place = int(name) if str(name).isdigit() else sum(str(name).encode())
    return replace(settings, overrides={**settings.overrides, "device": f"cuda:{place % torch.cuda.device_count()}"})


def _set_aside(study: Study, ledger: Ledger) -> Record:
    reason = (
        f"{study.label} killed the process that segmented it, {ATTEMPTS} times and once more alone; "
        "it may need more memory than a worker has."
    )
    entry = {"input": str(study.given), "error": reason}
    record = Record(study.label, study.kind, study.place, "", "", "", "crashed", entry)
    ledger.append(record)
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
