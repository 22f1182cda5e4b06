"""The guard before the server's endpoints: the list of attacks, and what is answered to each. Runs without MONAI Label."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("requests", reason="requests comes with MONAI Label")
pytest.importorskip("starlette", reason="starlette comes with MONAI Label")

import requests

from monai_dis.errors import OutputError
from monai_dis.label.access import Access
from monai_dis.label.endpoints import Desk
from monai_dis.label.guard import Guard, SizeLimits, Web, sentence_for
from monai_dis.label.incoming import Refusal
from monai_dis.label.inference import Inference
from monai_dis.label.inference_queue import InferenceQueue
from monai_dis.label.outgoing import Outgoing
from monai_dis.label.own_answers import OwnAnswers
from monai_dis.label.request import RequestError

DESK = Desk(
    models={"eyes": {1: "vessel"}},
    trainers=["eyes"],
    strategies=["random"],
    scoring=["expected_gain"],
    images=lambda: {"eye1", "a b"},
)
SESSION = "e84670dc-e618-11f1-9ba1-02fc00000001"
TOKEN = "0123456789abcdef0123456789abcdef"


def ask(
    method: str,
    target: str,
    body: bytes = b"",
    kind: str = "",
    headers: Mapping[str, str] | None = None,
    limits: SizeLimits | None = None,
    token: str | None = None,
    names: tuple[str, ...] = (),
) -> tuple[int, str, bytes]:
    """Status and sentence of an answer, and the body that came through; 200 where the guard lets it pass."""
    reached: list[bytes] = []

    def compute(asked: Inference) -> tuple[Path, dict[str, Any]]:
        reached.append(body)
        file = Path(tempfile.mkdtemp()) / "answer.nrrd"
        file.write_bytes(b"NRRD0004")
        return file, {"image": asked.image, "points": len(asked.request.points)}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        content, more = b"", True
        while more:
            message = await receive()
            content, more = content + message["body"], message["more_body"]
        reached.append(content)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    from urllib.parse import unquote

    path, _, query = target.partition("?")
    every = {"host": "127.0.0.1:8000", **({"content-type": kind} if kind else {}), **(headers or {})}
    scope = {
        "type": "http", "method": method, "path": unquote(path), "raw_path": path.encode(), "query_string": query.encode(),
        "headers": [(key.encode(), value.encode()) for key, value in every.items()],
    }  # fmt: skip
    scope["server"] = ("127.0.0.1", 8000)
    access, queue = Access(names, token), InferenceQueue()
    web = Web(
        access,
        queue,
        compute,
        OwnAnswers("DIS", "an app", ("eyes",), queue, access, Path("no.log"), str, lambda name, tag: ""),
        ("/data",),
    )
    sent: list[Any] = []
    pieces = [body[start : start + 1000] for start in range(0, len(body), 1000)] or [b""]

    async def receive() -> Any:
        if not pieces:
            await asyncio.sleep(3600)
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(app, DESK, web, limits)(scope, receive, send))
    json_sent = dict(sent[0]["headers"]).get(b"content-type") == b"application/json"
    detail = json.loads(sent[1]["body"]).get("detail", "") if json_sent else ""
    return sent[0]["status"], detail, b"".join(reached)


def form(
    fields: Mapping[str, str] | None = None, files: Mapping[str, tuple[str, bytes]] | None = None
) -> dict[str, Any]:
    """A multipart form as keyword arguments of `ask`."""
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in (fields or {}).items()
    ]
    for key, (name, content) in (files or {}).items():
        head = f'--b\r\nContent-Disposition: form-data; name="{key}"; filename="{name}"\r\n\r\n'
        parts.append(head.encode() + content + b"\r\n")
    return {"body": b"".join(parts) + b"--b--\r\n", "kind": "multipart/form-data; boundary=b"}


def params(**values: Any) -> dict[str, Any]:
    return form({"params": json.dumps(values)})


LABEL = {"label": ("a.nii.gz", b"1")}
REFUSED = [
    # places outside the datastore
    pytest.param("POST", "/infer/eyes?image=/etc/passwd", {}, 404, id="image-absolute"),
    pytest.param("POST", "/infer/eyes?image=../secret", {}, 404, id="image-above"),
    pytest.param("POST", "/infer/eyes?image=%2e%2e%2fsecret", {}, 404, id="image-above-encoded"),
    pytest.param("POST", "/infer/eyes?image=%252e%252e%252fsecret", {}, 404, id="image-encoded-twice"),
    pytest.param("POST", "/infer/eyes?image=eye1%00.png", {}, 404, id="image-null-byte"),
    pytest.param("POST", "/infer/eyes?image=tests", {}, 404, id="image-in-working-folder"),
    pytest.param("POST", "/infer/eyes", {}, 404, id="image-missing"),
    pytest.param("POST", "/infer/eyes?session_id=../../", {}, 404, id="session-above"),
    pytest.param("DELETE", "/session/..", {}, 404, id="session-removes-above"),
    pytest.param("DELETE", "/session/%2e%2e", {}, 404, id="session-removes-above-encoded"),
    pytest.param("PUT", "/datastore/label?image=eye1&tag=../../x", form(files=LABEL), 422, id="tag-above"),
    pytest.param("PUT", "/datastore/label?image=eye1&tag=/tmp/x", form(files=LABEL), 422, id="tag-absolute"),
    pytest.param("PUT", "/datastore/label?image=../eye1", form(files=LABEL), 404, id="label-of-image-above"),
    pytest.param("PUT", "/datastore/?image=../x", form(files={"file": ("a.png", b"1")}), 422, id="upload-above"),
    pytest.param("PUT", "/datastore/?image=x", form(files={"file": ("a.py", b"1")}), 422, id="upload-of-code"),
    pytest.param("PUT", "/session/?uncompress=true", form(files={"files": ("a.zip", b"1")}), 422, id="archive-unpacked"),
    pytest.param("PUT", "/session/", form(files={"files": ("../.bashrc", b"1")}), 422, id="session-hidden-file"),
    pytest.param("GET", "/datastore/image?image=/etc/passwd", {}, 404, id="download-absolute"),
    pytest.param("GET", "/datastore/label?label=../eye1&tag=final", {}, 404, id="download-label-above"),
    pytest.param("GET", "/ohif/../../../etc/passwd", {}, 404, id="viewer-above"),
    pytest.param("GET", "/static/%2e%2e/%2e%2e/app.py", {}, 404, id="static-above"),
    pytest.param("GET", "/proxy/dicom/../../tools/reset", {}, 404, id="proxy-above"),
    pytest.param("GET", "/proxy/dicom/%252e%252e/tools/reset", {}, 404, id="proxy-above-encoded-twice"),
    pytest.param("GET", "/proxy/dicom/wado/%25252e%25252e/system", {}, 404, id="proxy-above-encoded-thrice"),
    pytest.param("GET", "/proxy/dicom/wado/studies/%2e%2e/%2e%2e/system", {}, 404, id="proxy-above-studies"),
    pytest.param("GET", "/proxy/dicom/studies%2f..%2f..%2fsystem", {}, 404, id="proxy-encoded-slash"),
    pytest.param("GET", "/proxy/dicom/system", {}, 404, id="archives-own-api"),
    pytest.param("GET", "/ohif/%252e%252e/%252e%252e/app.py", {}, 404, id="viewer-above-encoded-twice"),
    pytest.param("DELETE", "/datastore/?id=eye1", {}, 403, id="image-removed"),
    pytest.param("POST", "/batch/infer/eyes", {"body": b'{"label_tag": "../../x"}'}, 422, id="batch-tag-above"),
    # what is not offered
    pytest.param("PUT", "/model/eyes", form(files={"file": ("a.pt", b"1")}), 403, id="weights-uploaded"),
    pytest.param("DELETE", "/model/eyes", {}, 403, id="weights-removed"),
    pytest.param("POST", "/reload", {}, 404, id="reload"),
    pytest.param("POST", "/infer/wsi/eyes", {}, 404, id="other-endpoint"),
    pytest.param("GET", "/logs/gpu", {}, 404, id="program-started"),
    pytest.param("GET", "/datastore/dataset", {}, 404, id="archive-of-everything"),
    pytest.param("POST", "/proxy/dicom/studies", {}, 405, id="archive-written-through-proxy"),
    pytest.param("GET", "/info/", {"headers": {"origin": "http://evil.example"}}, 403, id="page-of-another-site"),
    pytest.param("GET", "/info/", {"headers": {"origin": "null"}}, 403, id="page-of-no-site"),
    pytest.param("GET", "/info/", {"headers": {"origin": "http://127.0.0.1:9000"}}, 403, id="page-of-another-port"),
    pytest.param("GET", "/info/", {"headers": {"host": "evil.example:8000"}}, 421, id="name-of-another"),
    pytest.param("GET", "/info/", {"headers": {"host": "evil.example", "origin": "http://evil.example"}}, 421, id="rebinding"),
    pytest.param("GET", "/info/", {"headers": {"host": "127.0.0.1.evil.example"}}, 421, id="name-that-begins-so"),
    pytest.param("GET", "/info/", {"headers": {"host": "127.0.0.2"}}, 421, id="another-address"),
    pytest.param("GET", "/info/", {"headers": {"host": ""}}, 421, id="no-name"),
    pytest.param("GET", "/info/", {"headers": {"host": "localhost:x"}}, 421, id="no-port"),
    pytest.param("GET", "/info/", {"token": TOKEN}, 401, id="without-the-token"),
    pytest.param("GET", "/nothing", {"token": TOKEN}, 401, id="what-there-is-without-the-token"),
    pytest.param("GET", "/info/", {"token": TOKEN, "headers": {"authorization": f"Bearer {TOKEN[:-1]}0"}}, 401, id="wrong-token"),
    pytest.param("GET", "/info/", {"token": TOKEN, "headers": {"authorization": "Basic %%%"}}, 401, id="token-no-base64"),
    pytest.param("POST", "/auth/token", {"token": TOKEN, **form({"username": "me", "password": "guess"})}, 401, id="wrong-password"),
    # the schema
    pytest.param("POST", "/infer/others?image=eye1", {}, 404, id="unknown-model"),
    pytest.param("POST", "/infer/eyes?image=eye1&image=eye1", {}, 422, id="parameter-twice"),
    pytest.param("POST", "/infer/eyes?image=eye1&output=exe", {}, 422, id="unknown-output"),
    pytest.param("POST", "/infer/eyes?image=eye1", params(mode="fast"), 422, id="unknown-mode"),
    pytest.param("POST", "/infer/eyes?image=eye1", params(budget=2), 422, id="budget-too-large"),
    pytest.param("POST", "/infer/eyes?image=eye1", params(budget="nan"), 422, id="budget-no-number"),
    pytest.param("POST", "/infer/eyes?image=eye1", params(foreground=[[float("nan"), 1]]), 422, id="point-no-number"),
    pytest.param("POST", "/infer/eyes?image=eye1", params(foreground=[[1e30, 1]]), 422, id="point-far-away"),
    pytest.param("POST", "/infer/eyes?image=eye1", params(foreground=[[1, 1]] * 5000), 422, id="too-many-points"),
    pytest.param("POST", "/infer/eyes?image=eye1", params(foreground=[[1, 1], [1, 1, 1]]), 422, id="points-of-two-kinds"),
    pytest.param("POST", "/infer/eyes?image=eye1", params(result_extension="/../x"), 422, id="extension-as-path"),
    pytest.param("POST", "/infer/eyes?image=eye1", form({"params": "{"}), 422, id="no-json"),
    pytest.param("POST", "/infer/eyes?image=eye1", form({"params": "[1]"}), 422, id="json-no-object"),
    pytest.param("POST", "/infer/eyes?image=eye1", form({"params": "[" * 100000}), 422, id="deep-json-in-a-form"),
    pytest.param("POST", "/infer/eyes?image=eye1", form({"params": '{"a":' * 50000}), 422, id="deep-objects-in-a-form"),
    pytest.param("POST", "/infer/eyes?image=eye1", params(uncertain=[[1, 2]]), 422, id="points-of-no-class"),
    pytest.param("POST", "/infer/eyes?image=eye1", params(vessel="x"), 422, id="points-as-text"),
    pytest.param("POST", "/infer/eyes?image=eye1", params(vessel={"a": 1}), 422, id="points-as-object"),
    pytest.param("POST", "/infer/eyes?image=eye1", params(mode={"a": 1}), 422, id="mode-as-object"),
    pytest.param("POST", "/infer/eyes?image=eye1", params(budget=[[1]]), 422, id="budget-as-list"),
    pytest.param("POST", "/infer/eyes?image=eye1", params(result_compress="yes"), 422, id="flag-as-text"),
    pytest.param("PUT", "/datastore/label?image=eye1", form({"params": '{"label_info": "x"}'}, LABEL), 422, id="names-as-text"),
    pytest.param("PUT", "/datastore/label/info?label=eye1&tag=final", form({"info": '{"segmentationMeta": 3}'}), 422, id="review"),
    pytest.param("POST", "/train/eyes", {"body": b'{"max_epochs": 1e9}'}, 422, id="endless-training"),
    pytest.param("POST", "/train/eyes", {"body": b'{"gpus": "0; rm -rf /"}'}, 422, id="shell-in-parameter"),
    pytest.param("POST", "/train/", {"body": b'{"eyes": {"max_epochs": 0}}'}, 422, id="training-of-all"),
    pytest.param("POST", "/scoring/expected_gain", {"body": b"[" * 100000}, 422, id="deep-json"),
    pytest.param("POST", "/activelearning/unknown", {}, 404, id="unknown-strategy"),
    pytest.param("GET", "/logs/?lines=-1", {}, 422, id="lines-negative"),
    # sizes
    pytest.param("POST", "/train/eyes", {"body": b" " * (2 << 20)}, 413, id="large-json"),
    pytest.param("POST", "/train/eyes", {"headers": {"content-length": str(1 << 40)}}, 413, id="large-announced"),
    pytest.param("GET", "/info/?" + "a" * 10000, {}, 414, id="long-address"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "target", "more", "status"), REFUSED)
def test_an_attack_is_refused_with_a_sentence(method: str, target: str, more: dict[str, Any], status: int) -> None:
    answered, sentence, reached = ask(method, target, **more)
    print(f"{method} {target[:60]} -> {answered} {sentence}")
    assert answered == status
    assert sentence.endswith(".") and len(sentence) > 20
    assert "passwd" not in sentence and reached == b""


BASIC = base64.b64encode(f"reader 1:{TOKEN}".encode()).decode()
PASSED = [
    pytest.param("GET", "/info/", {}, id="info"),
    pytest.param("POST", "/infer/eyes?image=eye1", {}, id="infer"),
    pytest.param("POST", "/infer/eyes?image=a+b&output=all", params(mode="coarse", budget="0.1"), id="infer-form"),
    pytest.param("POST", "/infer/eyes?image=eye1", params(vessel=[[1, 2]], background=[], label="vessel"), id="points-by-name"),
    pytest.param("POST", "/infer/eyes?image=eye1", params(mode=["dis", "coarse"], budget=["bundle"]), id="choices-as-listed"),
    pytest.param("POST", "/infer/eyes?image=", form(files={"file": ("/home/me/scan.nii.gz", b"1" * 5000)}), id="upload"),
    pytest.param("POST", f"/infer/eyes?image=&session_id={SESSION}", params(), id="session"),
    pytest.param("PUT", "/datastore/label?image=eye1&tag=final", form({"params": "{}"}, LABEL), id="save"),
    pytest.param("PUT", "/session/", form(files={"files": ("scan.nii.gz", b"1")}), id="session-upload"),
    pytest.param("GET", "/info/", {"headers": {"origin": "http://127.0.0.1:8000"}}, id="own-pages"),
    pytest.param("GET", "/ohif/viewer?StudyInstanceUIDs=1.2", {}, id="viewer"),
    pytest.param("GET", "/proxy/dicom/qido/studies?limit=1", {}, id="proxy"),
    pytest.param("GET", "/proxy/dicom/wado/studies/1.2/series/1.3/instances/1.4/frames/1,2", {}, id="proxy-frames"),
    pytest.param("GET", "/info/", {"headers": {"host": "localhost:8000"}}, id="localhost"),
    pytest.param("GET", "/info/", {"headers": {"host": "Pacs.Example:8443"}, "names": ("pacs.example",)}, id="own-name"),
    pytest.param("GET", "/info/", {"token": TOKEN, "headers": {"authorization": f"Bearer {TOKEN}"}}, id="token"),
    pytest.param("GET", "/info/", {"token": TOKEN, "headers": {"authorization": f"Bearer reader 1:{TOKEN}"}}, id="token-of-a-reader"),
    pytest.param("GET", "/info/", {"token": TOKEN, "headers": {"authorization": f"Basic {BASIC}"}}, id="token-as-password"),
    pytest.param("POST", f"/infer/eyes?image=MRHead&session_id={SESSION}", params(), id="session-beside-a-name"),
    pytest.param("POST", "/infer/eyes?image=eye1", params(uncertain=[], reset_state=True, roi=[1, 2], slice=3), id="fields-of-a-client"),
    pytest.param("GET", "/info/?from=slicer", {}, id="unknown-parameter"),
    pytest.param("POST", "/train/eyes", {"body": b'{"max_epochs": 3, "client_id": null}'}, id="train"),
    pytest.param("POST", "/train/", {"body": b'{"eyes": {"max_epochs": 3}}'}, id="train-all"),
    pytest.param("GET", "/train/?check_if_running=true", {}, id="status"),
    pytest.param("POST", "/batch/infer/eyes?images=unlabeled", {"body": b'{"max_workers": 1}'}, id="batch"),
    pytest.param("GET", "/logs/?lines=100", {}, id="logs"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "target", "more"), PASSED)
def test_what_viewers_send_comes_through_whole(method: str, target: str, more: dict[str, Any]) -> None:
    status, sentence, reached = ask(method, target, **more)
    assert (status, sentence) == (200, "")
    if more.get("body", b"").startswith(b"{"):  # JSON: what was checked
        assert json.loads(reached) == json.loads(more["body"])
    else:
        assert reached == more.get("body", b"")


@pytest.mark.parametrize("field", ["image", "label_file", "model_filename", "image_path"])
def test_what_is_not_known_reaches_no_task(field: str) -> None:
    status, _, _ = ask("POST", "/infer/eyes?image=eye1", **params(**{field: "/etc/passwd"}))
    assert status == 200
    status, _, reached = ask("POST", "/train/eyes", json.dumps({field: "/etc/passwd", "max_epochs": 2}).encode())
    assert status == 200 and json.loads(reached) == {"max_epochs": 2}


def test_names_and_password_give_a_token() -> None:
    access = Access(token=TOKEN)
    given = access.issued("reader 1", TOKEN)
    scope = {"headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {given}".encode())]}
    assert access.check(scope) == "reader 1"
    assert access.issued("reader 1", TOKEN[:-1]) is None


def test_a_full_queue_is_told_at_once() -> None:
    queue, stop = InferenceQueue(most=1), threading.Event()
    tickets = [queue.submit(stop.wait), queue.submit(lambda: None)]
    assert [ticket.place for ticket in tickets] == [0, 1]
    with pytest.raises(Refusal) as refused:
        queue.submit(lambda: None)
    assert refused.value.status == 503
    stop.set()
    tickets[1].future.result(timeout=10)
    assert tickets[1].waited[0] > 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 507),
        (OutputError("it cannot be written"), 422),
        (RequestError("no"), 422),
        (requests.ConnectionError("refused"), 502),
        (ValueError("a bug"), 500),
    ],
)
def test_errors_have_a_status(error: Exception, status: int) -> None:
    assert sentence_for(error)[0] == status


def test_a_failure_is_a_sentence_and_tells_no_place() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def answer(status: int, kind: str, body: bytes) -> tuple[int, bytes]:
        sent.clear()
        out = Outgoing(send, ["/data/studies"])
        await out({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind.encode())]})
        await out({"type": "http.response.body", "body": body})
        assert dict(sent[0]["headers"])[b"content-security-policy"].startswith(b"default-src 'self'")
        return sent[0]["status"], sent[1]["body"]

    async def all_of_it() -> None:
        status, body = await answer(500, "text/plain", b"Internal Server Error")
        assert status == 500 and json.loads(body)["detail"].endswith(".")
        _, body = await answer(
            200, "application/json", b'{"path": "/data/studies/eye 1.png", "n": [1, "/data/studies"]}'
        )
        assert json.loads(body) == {"path": "eye 1.png", "n": [1, "."]}
        _, body = await answer(422, "application/json", b'{"detail": [{"loc": ["query", "tag"], "msg": "missing"}]}')
        assert "tag" in json.loads(body)["detail"]
        _, body = await answer(200, "text/html", b'<link href="https://fonts.example/x"/><link href="/ohif/a.css">')
        assert body == b'<link href="/ohif/a.css">'

    asyncio.run(all_of_it())


def test_uploads_have_a_limit_of_their_own() -> None:
    limits = SizeLimits(upload_bytes=2000, json_bytes=500)
    upload = form(files={"file": ("a.png", b"1" * 1000)})
    assert ask("POST", "/infer/eyes", **upload, limits=limits)[0] == 200
    large = form(files={"file": ("a.png", b"1" * 3000)})
    assert ask("POST", "/infer/eyes", **large, limits=limits)[0] == 413
