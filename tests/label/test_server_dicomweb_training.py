"""A real server over an Orthanc of several studies: batch, submitted labels, training, and a series that is uploaded."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pydicom")

import pydicom
from command_line import call as command
from dicom_objects import Identity, ct_series
from dicom_peers import Orthanc, needs_orthanc, orthanc
from dicom_phantom import Grid, phantom
from dicom_study import make_volume_bundle, save_shuffled
from label_server import Running, call, label_server, needs_label, wait
from small_bundle import write_tiny_bundle

from monai_dis.data.images import read_image
from monai_dis.label.serving import app_folder

pytestmark = [needs_label, needs_orthanc, pytest.mark.slow]

GRID = Grid(row_spacing=1.5, column_spacing=3.0)
LABELS = {"label_info": [{"name": "Right kidney", "idx": 1}, {"name": "Liver", "idx": 2}]}


@dataclass(frozen=True)
class Desk:
    """A server with its archive."""

    server: Running
    archive: Orthanc
    series: tuple[str, ...]
    files: Path


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    values = phantom(GRID)
    values[values == 150] = 300
    sources = [save_shuffled(ct_series(Identity(f"case{n}"), GRID, values), folder / f"in{n}") for n in range(3)]
    uids = tuple(str(pydicom.dcmread(next(source.iterdir())).SeriesInstanceUID) for source in sources)
    assert len(set(uids)) == 3
    bundle = make_volume_bundle(write_tiny_bundle(folder))
    with orthanc(folder / "orthanc") as archive:
        for source in sources:
            assert command("dicom", "send", archive.url, source) == 0
        with label_server(archive.url, [bundle], folder) as server:
            yield Desk(server, archive, uids, sources[0])


def segmentations(desk: Desk) -> list[Any]:
    import requests

    answer = requests.get(
        f"{desk.archive.url}/series",
        params={"Modality": "SEG"},
        headers={"Accept": "application/dicom+json"},
        timeout=60,
    )
    return list(answer.json()) if answer.status_code == 200 else []


def _datastore(archive: Orthanc, cache: Path) -> Any:
    """The app's own datastore, as each of its processes has one."""
    from monailabel.datastore.dicom import DICOMwebClientX

    spec = importlib.util.spec_from_file_location("dis_app", app_folder() / "main.py")
    assert spec is not None and spec.loader is not None
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    return app.DicomDatastore(DICOMwebClientX(url=archive.url), {}, str(cache))


def test_processes_that_want_one_series_at_once_all_get_it_whole(desk: Desk, tmp_path: Path) -> None:
    stores = [_datastore(desk.archive, tmp_path) for _ in range(4)]
    with ThreadPoolExecutor(len(stores)) as pool:
        files = list(pool.map(lambda store: Path(store.get_image_uri(desk.series[1])), stores))
    assert len(set(files)) == 1
    slices = list(files[0].with_name(desk.series[1]).iterdir())
    assert len(slices) == len(list(desk.files.iterdir())) == read_image(files[0]).shape[-1]


def test_a_series_that_is_uploaded_is_answered_and_goes_nowhere(desk: Desk) -> None:
    import nrrd
    import requests

    client = desk.server.client()
    files = [("files", (file.name, file.read_bytes())) for file in sorted(desk.files.iterdir())]
    session = requests.put(f"{desk.server.url}/session/", files=files, timeout=120).json()["session_id"]
    file, _ = client.infer("tiny_bundle", "", {"result_extension": ".nrrd"}, session_id=session)
    uploaded, _ = nrrd.read(file)
    file, _ = client.infer("tiny_bundle", desk.series[0], {"result_extension": ".nrrd"})
    assert np.array_equal(uploaded, nrrd.read(file)[0])
    client.remove_session(session)
    assert not segmentations(desk)


def test_a_batch_leaves_an_answer_for_every_series(desk: Desk) -> None:
    call(desk.server, "/batch/infer/tiny_bundle?images=unlabeled", {"device": "cpu", "label_tag": "original"})
    status = wait(desk.server, "/batch/infer")
    assert status["status"] == "DONE", status
    # another process wrote them; the server sees them when it is told of new files
    for _ in range(60):
        objects = desk.server.client().datastore()["objects"]
        answered = [series for series in desk.series if "original" in objects.get(series, {}).get("labels", {})]
        if len(answered) == 3:
            break
        time.sleep(0.5)
    assert answered == list(desk.series), objects
    assert not segmentations(desk)  # the archive gets what a reader submits


def test_training_learns_from_what_readers_submitted(desk: Desk) -> None:
    client = desk.server.client()
    for series in desk.series:
        file, _ = client.infer("tiny_bundle", series, {"result_extension": ".nrrd"})
        client.save_label(series, file, "final", LABELS)
    assert len(segmentations(desk)) == 3
    client.train_start("tiny_bundle", {"max_epochs": 1, "steps_per_epoch": 2, "val_split": 0.34})
    status = wait(desk.server, "/train/")
    assert status["status"] == "DONE", status
    stats = client.info()["train_stats"]["tiny_bundle"]
    assert stats["epoch"] == 1
    for version in stats["versions"]:
        assert not version["in_use"] or version["val_dice"] >= version["former_dice"]
