"""A real server with a token, TLS, a name and limits: who may ask, what is told of this machine, and what is there after kill -9."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("requests")

import requests
from label_server import Running, label_server, needs_label
from PIL import Image
from small_bundle import disc, write_tiny_bundle

pytestmark = [
    needs_label,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
    pytest.mark.filterwarnings("ignore:Unverified HTTPS request"),
]

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "studies").mkdir()
    for number in range(3):
        Image.fromarray(disc()).save(folder / "studies" / f"eye{number}.png")
    Image.fromarray(disc(width=400, height=400)).save(folder / "studies" / "large.png")
    (folder / "token").write_text(f"{TOKEN}\n")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    made += ["-keyout", folder / "key.pem", "-out", folder / "certificate.pem"]
    subprocess.run(list(map(str, made)), check=True, capture_output=True)
    write_tiny_bundle(folder)
    return folder


def options(place: Path) -> list[str | Path]:
    return [
        "--token-file", place / "token", "--certificate", place / "certificate.pem", "--key", place / "key.pem",
        "--name", "reader.example", "--limit", "volume_bytes=100000",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Running]:
    with label_server(place / "studies", [place / "tiny_bundle"], place, options(place)) as running:
        yield running


def ask(server: Running, method: str, path: str, *, reader: str = "reader 1", **how: Any) -> Any:
    headers = {"Authorization": f"Bearer {reader}:{TOKEN}", **how.pop("headers", {})}
    return requests.request(method, server.url + path, headers=headers, verify=False, timeout=120, **how)


def label(value: int) -> dict[str, Any]:
    file = BytesIO()
    Image.fromarray((disc()[..., 0] > 128).astype(np.uint8) * value).save(file, format="png")
    return {"label": ("label.png", file.getvalue())}


def test_only_who_has_the_token_is_answered(server: Running) -> None:
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer guess"}, {"Authorization": "Basic Z3Vlc3M="}):
        answer = ask(server, "GET", "/info/", headers=headers)
        assert answer.status_code == 401 and "token" in answer.json()["detail"]
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert ask(server, "GET", "/info/").status_code == 200
    assert requests.get(server.url + "/info/", auth=("me", TOKEN), verify=False, timeout=60).status_code == 200


def test_3d_slicers_client_signs_in(server: Running) -> None:
    client = server.client()
    assert client.auth_enabled()
    client.update_auth(client.auth_token("reader 7", TOKEN))
    assert client.auth_valid_token() and "tiny_bundle" in client.info()["models"]
    with pytest.raises(Exception) as wrong:
        client.auth_token("reader 7", "guess")
    assert "401" in wrong.value.msg


def test_names_of_the_server(server: Running) -> None:
    port = server.url.rsplit(":", 1)[1]
    for host, status in (
        ("reader.example", 200),
        (f"localhost:{port}", 200),
        ("evil.example", 421),
        ("127.0.0.2", 421),
    ):
        answer = ask(server, "GET", "/info/", headers={"Host": host})
        assert answer.status_code == status, host
    rebound = {"Host": "evil.example", "Origin": "https://evil.example"}
    assert ask(server, "GET", "/info/", headers=rebound).status_code == 421
    assert ask(server, "GET", "/info/", headers={"Origin": "https://evil.example"}).status_code == 403


def test_no_page_loads_from_elsewhere_and_no_answer_tells_a_place(server: Running) -> None:
    pages = ["/", "/info/", "/datastore/?output=all", "/datastore/?output=train", "/datastore/image/info?image=eye0", "/logs/",
             "/ohif/", "/openapi.json", "/queue/"]  # fmt: skip
    ask(server, "PUT", "/datastore/label?image=eye0", files=label(1)).raise_for_status()
    session = ask(server, "PUT", "/session/", files={"files": ("a.png", b"1")}).json()
    next_one = ask(server, "POST", "/activelearning/random", json={}).json()
    assert next_one["path"] == f"{next_one['id']}.png"
    texts = [json.dumps(session), json.dumps(next_one)]
    for page in pages:
        answer = ask(server, "GET", page)
        assert answer.status_code == 200, page
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'"), page
        texts.append(answer.text)
        if "html" in answer.headers["Content-Type"]:
            assert "//cdn" not in answer.text and "googleapis" not in answer.text and "gstatic" not in answer.text, page
    for text in texts:
        assert str(server.work.parent) not in text and str(Path.home()) + "/" not in text


def test_limits_reach_the_server(server: Running) -> None:
    answer = ask(server, "POST", "/infer/tiny_bundle?image=large", data={"params": "{}"})
    assert answer.status_code == 422 and "LIMIT_EXCEEDED" in answer.json()["detail"]
    assert ask(server, "POST", "/infer/tiny_bundle?image=eye1", data={"params": "{}"}).status_code == 200


def test_labels_are_checked_and_signed(server: Running) -> None:
    address = "/datastore/label?image=eye1&tag=final"
    for files, word in (
        (label(77), "holds 77"),
        (label(0), "empty"),
        ({"label": ("a.png", b"garbage")}, "no PNG image"),
    ):
        answer = ask(server, "PUT", address, files=files)
        assert answer.status_code == 422 and word in answer.json()["detail"], answer.text
    objects = ask(server, "GET", "/datastore/?output=all").json()["objects"]
    assert "final" not in objects["eye1"]["labels"]
    for reader in ("reader 1", "reader 2"):
        ask(server, "PUT", address, reader=reader, files=label(1)).raise_for_status()
    labels = ask(server, "GET", "/datastore/?output=all").json()["objects"]["eye1"]["labels"]
    assert labels["final"]["info"]["bundle"] == "tiny_bundle" and labels["final"]["info"]["classes"] == ["bright"]
    assert labels["version_1"]["info"]["saved_by"] == "reader 1" and labels["final"]["info"]["saved_by"] == "reader 2"
    assert ask(server, "GET", "/datastore/label?label=eye1&tag=version_1").status_code == 200


def test_images_stay(server: Running) -> None:
    other = {"file": ("eye1.png", b"other")}
    assert ask(server, "DELETE", "/datastore/?id=eye1").status_code == 403
    answer = ask(server, "PUT", "/datastore/?image=eye1", files=other)
    assert answer.status_code == 409 and "not replaced" in answer.json()["detail"]


def test_others_are_answered_while_networks_run(server: Running) -> None:
    """Not a measure of time: what is asked meanwhile comes back before the queue is empty."""

    def segment(number: int) -> None:
        params = {"params": json.dumps({"mode": "sliding-window", "budget": str(0.1 + number / 100)})}
        ask(server, "POST", f"/infer/tiny_bundle?image=eye{number % 3}", data=params)

    readers = [threading.Thread(target=segment, args=(number,)) for number in range(6)]
    for each in readers:
        each.start()
    answered = 0
    while any(each.is_alive() for each in readers):
        answered += ask(server, "GET", "/info/").status_code == 200
    assert answered >= 2
    assert ask(server, "GET", "/queue/").json() == {"computing": 0, "waiting": 0, "most_waiting": 16}


def test_nothing_is_lost_when_the_server_is_killed(server: Running, place: Path) -> None:
    """Last of this file: kill -9 while labels come in, and a start on what is there."""
    done: list[int] = []

    def submit() -> None:
        for number in range(50):
            try:
                ask(
                    server, "PUT", "/datastore/label?image=eye2", reader=f"reader {number}", files=label(1)
                ).raise_for_status()
            except requests.RequestException:
                return
            done.append(number)

    thread = threading.Thread(target=submit)
    thread.start()
    while len(done) < 8:
        time.sleep(0.01)
    server.process.kill()
    thread.join()
    json.loads((place / "studies" / "datastore_v2.json").read_text())
    (place / "studies" / "datastore_v2.json").write_bytes(b"")  # and what a server of before left
    with label_server(place / "studies", [place / "tiny_bundle"], place, options(place)) as again:
        objects = ask(again, "GET", "/datastore/?output=all").json()["objects"]
    assert sorted(objects) == ["eye0", "eye1", "eye2", "large"]
    assert len(objects["eye2"]["labels"]) >= len(done)
    print(f"{len(done)} submitted, {len(objects['eye2']['labels'])} there")
    # By the server, or by what the killed one had left running in the background.
    assert [file.read_bytes() for file in (place / "studies").glob("datastore_v2.json.damaged-*")] == [b""]
