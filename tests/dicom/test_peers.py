"""An archive as a peer: every instance has a status of its own, and a 200 is not believed (O13)."""

from __future__ import annotations

import json
import socket
import threading
from base64 import b64decode, b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from command_line import call
from dicom_case import PHI_CANARIES
from dicom_cases_values import CODE_STREAMS, CODED_COLUMNS, CODED_ROWS
from dicom_files import rle_frame, write_part10
from dicom_objects import Identity, ct_series, set_encapsulated
from dicom_peers import Answer, Script, needs_orthanc, orthanc, scripted_server, storage_scp
from dicom_phantom import Grid
from dicom_study import save_shuffled
from pydicom.uid import JPEG2000Lossless, RLELossless

from monai_dis.checks.limits import Limits
from monai_dis.dicom.delivery import collect_instances
from monai_dis.dicom.dicomweb_fetch import Query, fetch_instances, fetch_series
from monai_dis.dicom.dicomweb_server import Server
from monai_dis.dicom.retry import Retry
from monai_dis.errors import DicomError

pytest.importorskip("pynetdicom")
pytest.importorskip("dicomweb_client")

JSON = "application/dicom+json"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_dis.dicom.retry.sleep", lambda _: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def files(folder: Path, slices: int = 2) -> Path:
    return save_shuffled(ct_series(Identity("peer"), Grid(slices=slices)), folder)


def listed(sequence: str, uid: str, **reasons: int) -> dict[str, Any]:
    tags = {"FailureReason": "00081197", "WarningReason": "00081196"}
    item = {"00081155": {"vr": "UI", "Value": [uid]}, "00081150": {"vr": "UI", "Value": ["1.2"]}}
    item.update({tags[name]: {"vr": "US", "Value": [value]} for name, value in reasons.items()})
    return {sequence: {"vr": "SQ", "Value": [item]}}


def stored(uid: str) -> Answer:
    return 200, JSON, listed("00081199", uid)


def with_warning(uid: str) -> Answer:
    return 200, JSON, listed("00081199", uid, WarningReason=0xB000)


def failed_in_200(uid: str) -> Answer:
    return 200, JSON, listed("00081198", uid, FailureReason=0xA700)


def failed_in_200_with_charset(uid: str) -> Answer:
    return 200, f"{JSON}; charset=utf-8", listed("00081198", uid, FailureReason=0x0122)


def failed_in_202(uid: str) -> Answer:
    return 202, JSON, listed("00081198", uid, FailureReason=0x0110)


def other_failure(uid: str) -> Answer:
    return 200, JSON, {
        "0008119A": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xC000]}}]}
    }  # fmt: skip


def conflict(uid: str) -> Answer:
    return 409, JSON, listed("00081198", uid, FailureReason=0x0124)


def unavailable(uid: str) -> Answer:
    return 503, JSON, None


def silent(uid: str) -> Answer:
    return 200, JSON, None


FOUND = (200, JSON, [{"00080018": {"vr": "UI", "Value": ["{uid}"]}}])


@pytest.mark.parametrize(
    ("posts", "status", "words", "posted"),
    [
        pytest.param([stored], 0, "stored", 1, id="stored"),
        pytest.param([with_warning], 0, "stored with warning B000", 1, id="warning-counts"),
        pytest.param([failed_in_200, stored], 0, "stored", 2, id="failure-in-200-then-stored"),
        pytest.param([failed_in_200], 4, "out of resources (A700)", 3, id="failure-in-200"),
        pytest.param([failed_in_200_with_charset], 4, "SOP class not supported (0122)", 3, id="failure-with-charset"),
        pytest.param([failed_in_202], 4, "processing failure (0110)", 3, id="failure-in-202"),
        pytest.param([other_failure], 4, "cannot be understood (C000)", 3, id="other-failures"),
        pytest.param([conflict], 4, "HTTP status 409, not authorised (0124)", 1, id="conflict-is-final"),
        pytest.param([unavailable, unavailable, stored], 0, "stored", 3, id="unavailable-then-stored"),
        pytest.param([unavailable], 4, "HTTP status 503", 3, id="unavailable"),
        pytest.param([silent], 4, "the server says nothing of it, and does not find it", 3, id="nothing-said"),
    ],
)
def test_each_answer_of_a_server_is_read(
    posts: list[Any], status: int, words: str, posted: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Script(posts)
    with scripted_server(script) as url:
        source = files(tmp_path / "in", slices=1)
        assert call("dicom", "send", url, source, "--attempts", "3", "--json", tmp_path / "sent.json") == status
    record = json.loads((tmp_path / "sent.json").read_text())["instances"]
    assert [each["status"] for each in record] == [words]
    assert record[0]["attempts"] == posted == sum(line.startswith("POST") for line in script.requests)
    assert list(source.iterdir())  # files are kept
    printed = capsys.readouterr().out
    assert ("1 of 1" in printed) is (status == 0)
    assert not [
        canary for canary in (*PHI_CANARIES, "127.0.0.1") if canary in printed + (tmp_path / "sent.json").read_text()
    ]


def test_only_what_failed_is_sent_again(tmp_path: Path) -> None:
    script = Script([stored, failed_in_200, stored])
    with scripted_server(script) as url:
        assert call("dicom", "send", url, files(tmp_path / "in", slices=3)) == 0
    uids = [line.split()[1] for line in script.requests]
    assert len(uids) == 4
    assert uids[1] == uids[2]
    assert len(set(uids)) == 3


def test_a_server_that_does_not_answer_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/dicom-web"
        command = ("dicom", "send", url, files(tmp_path / "in", slices=1), "--attempts", "2", "--timeout", "0.2")
        assert call(*command) == 4
    assert "no answer in time" in capsys.readouterr().out


def test_nobody_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = files(tmp_path / "in")
    assert call("dicom", "send", "http://127.0.0.1:9/dicom-web", source, "--attempts", "2") == 4
    assert call("dicom", "send", "PEER@127.0.0.1:9", source, "--attempts", "2") == 4
    printed = capsys.readouterr().out
    assert printed.count("no connection") == 2
    assert printed.count("no association") == 2


@pytest.mark.parametrize(
    ("statuses", "status", "received"),
    [
        pytest.param([0x0000], 0, 2, id="stored"),
        pytest.param([0xB007], 0, 2, id="warning"),
        pytest.param([0xA700, 0x0000], 0, 3, id="out-of-resources-then-stored"),
        pytest.param([0xA900], 4, 2, id="refused-for-good"),
        pytest.param([0xA700], 4, 6, id="out-of-resources"),
    ],
)
def test_each_status_of_c_store_is_read(statuses: list[int], status: int, received: int, tmp_path: Path) -> None:
    got: list[Any] = []
    with storage_scp(statuses, got) as peer:
        assert call("dicom", "send", peer, files(tmp_path / "in"), "--attempts", "3") == status
    assert len(got) == received
    first = pydicom.dcmread(next((tmp_path / "in").iterdir()))
    assert first.PixelData in [each.PixelData for each in got]


def test_a_peer_that_does_not_take_a_class_is_one_failure(tmp_path: Path) -> None:
    got: list[Any] = []
    source = files(tmp_path / "in")
    odd = ct_series(Identity("peer"), Grid(slices=1))[0]
    odd.SOPClassUID, odd.SOPInstanceUID = "1.2.840.99999.1", "1.2.3"
    write_part10(source / "odd", odd)
    with storage_scp([0], got) as peer:
        assert call("dicom", "send", peer, source, "--json", tmp_path / "sent.json") == 4
    record = json.loads((tmp_path / "sent.json").read_text())["instances"]
    assert len(got) == 2
    assert [each["uid"] for each in record if not each["stored"]] == ["1.2.3"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        pytest.param("notes.txt", b"nothing", "FILE_NOT_DICOM", id="no-dicom"),
        pytest.param("cut", None, "FILE_TRUNCATED", id="cut-short"),
    ],
)
def test_what_cannot_be_sent_is_said_before_anything_is(
    name: str, content: bytes | None, words: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content or next(files(tmp_path / "in").iterdir()).read_bytes()[:-9])
    with pytest.raises(DicomError, match=words):
        collect_instances([path], Limits())


def test_reports_are_sent_last(tmp_path: Path) -> None:
    series = ct_series(Identity("peer"), Grid(slices=2))
    series[0].SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.34"
    save_shuffled(series, tmp_path)
    assert [each.sop_class[-5:] for each in collect_instances([tmp_path], Limits())] == [".1.1.2"[-5:], "88.34"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param((), "whole archive is not fetched", id="no-query"),
        pytest.param(("--study", "../../etc"), "UID is none", id="no-uid"),
        pytest.param(("--study", "1.2.3"), "does not answer the query (HTTP status 403)", id="refused"),
    ],
)
def test_queries_that_cannot_be_asked(
    arguments: tuple[str, ...], words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with scripted_server(Script([stored], get=(403, JSON, None))) as url:
        assert call("dicom", "fetch", url, "-o", tmp_path / "out", *arguments) == 1
    assert words in capfd.readouterr().err


def test_a_server_does_not_choose_where_files_go(tmp_path: Path) -> None:
    answer = (
        200,
        JSON,
        [{"0020000E": {"vr": "UI", "Value": ["../../up"]}, "0020000D": {"vr": "UI", "Value": ["1.2"]}}],
    )
    with (
        scripted_server(Script([stored], get=answer)) as url,
        pytest.raises(DicomError, match="UID is none"),
    ):
        list(fetch_instances(Server(url, Retry(1)), Query(study="1.2"), tmp_path / "out"))
    assert not (tmp_path / "up").exists()


@needs_orthanc
@pytest.mark.slow
@pytest.mark.parametrize("way", ["stow", "c-store"])
def test_a_study_goes_to_orthanc_and_back_and_its_result_too(way: str, volume_bundle: Path, tmp_path: Path) -> None:
    source = files(tmp_path / "in", slices=24)
    study = str(pydicom.dcmread(next(source.iterdir())).StudyInstanceUID)
    with orthanc(tmp_path / "orthanc") as archive:
        url, peer = archive.url, archive.node if way == "c-store" else archive.url
        assert call("dicom", "send", peer, source) == 0
        fetch = ("dicom", "fetch", url, "--study", study, "-o", tmp_path / "back", "--json", tmp_path / "back.json")
        assert call(*fetch, "--modality", "CT") == 0
        back = {pydicom.dcmread(path).SOPInstanceUID: path for path in (tmp_path / "back").rglob("*.dcm")}
        for path in source.iterdir():
            sent, got = pydicom.dcmread(path), pydicom.dcmread(back[pydicom.dcmread(path).SOPInstanceUID])
            assert got.PixelData == sent.PixelData
            assert got.ImagePositionPatient == sent.ImagePositionPatient
        assert call("segment", tmp_path / "back", "-b", volume_bundle, "-o", tmp_path / "out", "--uncertainty") == 0
        assert call("dicom", "send", peer, tmp_path / "out") == 0
        assert call("dicom", "send", peer, tmp_path / "out") == 0  # again: the same objects
        assert call(*fetch) == 0
        record = json.loads((tmp_path / "back.json").read_text())["instances"]
        assert [each["status"] for each in record].count("kept") == 24
        assert len(record) == 24 + 3
        seg = next(path for path in (tmp_path / "back").rglob("*.dcm") if pydicom.dcmread(path).Modality == "SEG")
        own = [path for path in (tmp_path / "out").glob("*.dcm") if "sr" not in path.name]
        assert pydicom.dcmread(seg).PixelData in [pydicom.dcmread(path).PixelData for path in own]
        assert call("dicom", "fetch", url, "--where", "AccessionNumber=CANARY-ACC-77", "-o", tmp_path / "third") == 0
        assert call("dicom", "fetch", url, "--where", "AccessionNumber=other", "-o", tmp_path / "none") == 1


@needs_orthanc
@pytest.mark.slow
def test_compressed_images_come_as_they_are(tmp_path: Path) -> None:
    data = ct_series(Identity("peer"), Grid(slices=1))[0]
    pixels = np.frombuffer(data.PixelData, "<u2").reshape(data.Rows, data.Columns)
    set_encapsulated(data, [rle_frame(pixels)])
    write_part10(tmp_path / "rle", data, RLELossless)
    with orthanc(tmp_path / "orthanc") as archive:
        assert call("dicom", "send", archive.url, tmp_path / "rle") == 0
        assert call("dicom", "fetch", archive.url, "--study", data.StudyInstanceUID, "-o", tmp_path / "back") == 0
    back = pydicom.dcmread(next((tmp_path / "back").rglob("*.dcm")))
    assert back.file_meta.TransferSyntaxUID == RLELossless
    assert (back.pixel_array == pixels).all()


@needs_orthanc
def test_a_series_comes_as_the_archive_keeps_it(tmp_path: Path) -> None:
    """What the label server fetches; asked for a whole series, this archive fails to make compressed images uncompressed."""
    series = ct_series(Identity("packed"), Grid(slices=2))
    for data in series:
        set_encapsulated(data, [b64decode(CODE_STREAMS["jpeg-2000"])])
        data.Rows, data.Columns = CODED_ROWS, CODED_COLUMNS
    (tmp_path / "in").mkdir()
    for index, data in enumerate(series):
        write_part10(tmp_path / "in" / str(index), data, JPEG2000Lossless)
    with orthanc(tmp_path / "orthanc") as archive:
        assert call("dicom", "send", archive.url, tmp_path / "in") == 0
        client, uid = Server(archive.url).client(), str(series[0].SeriesInstanceUID)
        fetch_series(client, Retry(1), "", uid, tmp_path / "out")
        fetched = sorted((tmp_path / "out").iterdir())
        assert [path.stem for path in fetched] == sorted(str(data.SOPInstanceUID) for data in series)
        assert all(pydicom.dcmread(path).file_meta.TransferSyntaxUID == JPEG2000Lossless for path in fetched)
        with pytest.raises(DicomError, match="does not hold the series"):
            fetch_series(client, Retry(1), "", "1.2.3", tmp_path / "none")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".fetch")] == []


def test_a_user_and_password_of_the_address_are_used_and_not_shown() -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization", ""))
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        peer = Server(f"http://reader:p%40ss@127.0.0.1:{server.server_address[1]}/dicom-web", Retry(1))
        with pytest.raises(DicomError) as told:
            list(fetch_instances(peer, Query(study="1.2.3"), Path("nowhere")))
    finally:
        server.shutdown()
        server.server_close()
    assert asked == ["Basic " + b64encode(b"reader:p@ss").decode()]
    assert "HTTP status 401" in str(told.value)
    assert "p@ss" not in str(told.value) + repr(peer)
