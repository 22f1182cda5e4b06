"""The guard before the server's endpoints: the list of attacks, and what is answered to each. Runs without MONAI Label."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

pytest.importorskip("starlette", reason="starlette comes with MONAI Label")

from monai_dis.label.endpoints import Desk
from monai_dis.label.guard import Guard, SizeLimits

DESK = Desk(
    models={"eyes": {1: "vessel"}},
    trainers=["eyes"],
    strategies=["random"],
    scoring=["expected_gain"],
    images=lambda: {"eye1", "a b"},
)
SESSION = "e84670dc-e618-11f1-9ba1-02fc00000001"


def ask(
    method: str,
    target: str,
    body: bytes = b"",
    kind: str = "",
    headers: Mapping[str, str] | None = None,
    limits: SizeLimits | None = None,
) -> tuple[int, str, bytes]:
    """Status and sentence of an answer, and the body that came through; 200 where the guard lets it pass."""
    reached: list[bytes] = []

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
    sent: list[Any] = []
    pieces = [body[start : start + 1000] for start in range(0, len(body), 1000)] or [b""]

    async def receive() -> Any:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(app, DESK, limits)(scope, receive, send))
    detail = json.loads(sent[1]["body"]).get("detail", "")
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
    pytest.param("POST", "/infer/eyes?image=eye1", params(image="/etc/passwd"), 422, id="image-in-parameters"),
    pytest.param("POST", "/infer/eyes?image=eye1", params(label_file="/etc/passwd"), 422, id="label-in-parameters"),
    pytest.param("POST", "/infer/eyes?image=eye1", params(model_filename="../../x.pt"), 422, id="weights-in-parameters"),
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
    pytest.param("POST", "/train/eyes", {"body": b'{"max_epochs": 1e9}'}, 422, id="endless-training"),
    pytest.param("POST", "/train/eyes", {"body": b'{"train_ds": "/etc/passwd"}'}, 422, id="training-data-elsewhere"),
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
    assert reached == more.get("body", b"")


def test_uploads_have_a_limit_of_their_own() -> None:
    limits = SizeLimits(upload_bytes=2000, json_bytes=500)
    upload = form(files={"file": ("a.png", b"1" * 1000)})
    assert ask("POST", "/infer/eyes", **upload, limits=limits)[0] == 200
    large = form(files={"file": ("a.png", b"1" * 3000)})
    assert ask("POST", "/infer/eyes", **large, limits=limits)[0] == 413
