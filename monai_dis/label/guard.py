"""What stands before the server's endpoints: only the requests that are known, checked against a schema, and of bounded size.

MONAI Label's endpoints trust their parameters: an image may be any path, a tag any folder, a parameter any setting of a task. Here each
route has a check; what has none is not offered. A refusal is a 4xx with a sentence. Speaks ASGI alone; starlette parses forms.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from monai_dis.data.image_files import IMAGE_SUFFIXES
from monai_dis.errors import DisError
from monai_dis.label.desk import wanted_output
from monai_dis.label.request import (
    RequestError,
    check_batch,
    check_save,
    check_strategy,
    check_training,
    read_infer,
    read_tag,
)

__all__ = ["Desk", "Guard", "SizeLimits", "install", "sentence_for"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_MEBIBYTE = 1 << 20
_SESSION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAME = re.compile(r"[^/\\\x00-\x1f\x7f:*?\"<>|]{1,200}")
_TASK = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_LABEL_FILES = (*IMAGE_SUFFIXES, ".bin")


class Refusal(Exception):
    """A request that is not answered.

    Attributes:
        status: of HTTP, 4xx.
        sentence: that tells the client what to do.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


@dataclass(frozen=True)
class SizeLimits:
    """Sizes beyond which a request is refused with 413.

    Attributes:
        upload_bytes: of a request that uploads an image or a label.
        json_bytes: of any other request.
    """

    upload_bytes: int = 1024 * _MEBIBYTE
    json_bytes: int = _MEBIBYTE


@dataclass(frozen=True)
class Desk:
    """What the server has, as far as requests refer to it.

    Attributes:
        models: names of classes by index, by the name of the model.
        trainers: names of what can be trained.
        strategies: names of strategies.
        scoring: names of scoring methods.
        images: gives the ids of all images.
        may_upload: whether images may be added to the datastore.
    """

    models: Mapping[str, Mapping[int, str]]
    trainers: Collection[str]
    strategies: Collection[str]
    scoring: Collection[str]
    images: Callable[[], Collection[str]]
    may_upload: bool = True


@dataclass(frozen=True)
class _Request:
    """A request taken apart.

    Attributes:
        path: values of the route's groups.
        query: by key.
        form: text fields of a multipart form.
        files: names of its files, by field.
        content: of a JSON body; None when there is none.
    """

    path: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str] = field(default_factory=dict)
    files: tuple[tuple[str, str], ...] = ()
    content: Any = None


@dataclass(frozen=True)
class _Route:
    methods: str
    path: str
    check: Callable[[_Request, Desk], None]
    query: str = ""
    upload: bool = False


class Guard:
    """An ASGI application that refuses or passes on.

    Args:
        app: what answers.
        desk: what the server has.
        limits: on sizes.
    """

    def __init__(self, app: Any, desk: Desk, limits: SizeLimits | None = None) -> None:
        self.app = app
        self.desk = desk
        self.limits = limits or SizeLimits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        spool: Any = None
        try:
            _same_origin(scope)
            route, groups = _route_of(scope)
            query = _query_of(scope, route)
            limit = self.limits.upload_bytes if route.upload else self.limits.json_bytes
            spool = await _body(scope, receive, limit)
            request = await _taken_apart(scope, route, groups, query, spool)
            route.check(request, self.desk)
        except Refusal as refusal:
            await _answer(send, refusal.status, refusal.sentence)
            if spool is not None:
                spool.close()
            return
        except RequestError as error:
            await _answer(send, 422, str(error))
            if spool is not None:
                spool.close()
            return
        wanted_output.set(query.get("output", ""))
        if query.get("output") == "dicom_seg":
            # The endpoint would write it with another program; the task writes it, and the endpoint hands out its file.
            scope = {
                **scope,
                "query_string": bytes(scope["query_string"]).replace(b"output=dicom_seg", b"output=image"),
            }
        with spool:
            await self.app(scope, _replay(spool, receive), send)


def install(app: Any, desk: Desk, limits: SizeLimits | None = None) -> None:
    """Put the guard before a running FastAPI application, and let it answer our errors with their sentence.

    Args:
        app: ``monailabel.app.app``, whose middleware is built already when an app of MONAI Label is loaded.
        desk: what the server has.
        limits: on sizes.
    """
    from starlette.responses import JSONResponse

    def told(_: Any, error: Exception) -> Any:
        status, sentence = sentence_for(error)
        return JSONResponse({"detail": sentence}, status)

    app.add_exception_handler(DisError, told)
    inner = app.build_middleware_stack()
    app.middleware_stack = Guard(inner, desk, limits)


def sentence_for(error: Exception) -> tuple[int, str]:
    """Status and sentence for an error of ours that came up while a request was answered.

    Example:
        >>> sentence_for(RequestError("the budget must be a number."))
        (422, 'the budget must be a number.')
    """
    return 422, str(error)


def _task(kind: str, names: Callable[[Desk], Collection[str]]) -> Callable[[_Request, Desk], str]:
    def check(request: _Request, desk: Desk) -> str:
        name = request.path["name"]
        if name not in names(desk):
            there = ", ".join(sorted(names(desk))) or "none"
            raise Refusal(404, f"there is no such {kind}; there are: {there}.")
        return name

    return check


_model = _task("model", lambda desk: desk.models)
_trainer = _task("trainer", lambda desk: desk.trainers)
_strategy = _task("strategy", lambda desk: desk.strategies)
_method = _task("scoring method", lambda desk: desk.scoring)


def _image(name: str | None, desk: Desk) -> None:
    if name is None or name not in desk.images():
        raise Refusal(404, "there is no such image in the datastore; ask /datastore/?output=all for their ids.")


def _json_form(request: _Request, key: str = "params") -> dict[str, Any]:
    text = request.form.get(key, "{}") or "{}"
    try:
        content = json.loads(text)
    except ValueError as error:
        raise RequestError(f"the field {key} is not valid JSON.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise RequestError(f"the field {key} must be a JSON object.")
    return content


def _files(request: _Request, allowed: Mapping[str, Collection[str]]) -> None:
    for key, name in request.files:
        if key not in allowed:
            raise RequestError(f"the file field {key[:40]!r} is unknown; there are: {', '.join(allowed) or 'none'}.")
        # Clients send the whole path of their file; its last part is all that is used of it.
        last = re.split(r"[/\\]", name)[-1]
        if not _NAME.fullmatch(last) or last.startswith(".") or ".." in last:
            raise RequestError("the name of an uploaded file must be a plain file name.")
        if allowed[key] and not any(name.lower().endswith(suffix) for suffix in allowed[key]):
            raise RequestError(f"an uploaded file must be one of {', '.join(allowed[key])}.")


def _infer(request: _Request, desk: Desk) -> None:
    model = _model(request, desk)
    _files(request, {"file": IMAGE_SUFFIXES, "label": _LABEL_FILES})
    if (session := request.query.get("session_id")) and not _SESSION.fullmatch(session):
        raise Refusal(404, "there is no such session; upload the image again.")
    uploaded = any(key == "file" for key, _ in request.files)
    if request.query.get("image") or not (session or uploaded):
        _image(request.query.get("image"), desk)
    output = request.query.get("output")
    if output not in (None, "", "image", "json", "all", "dicom_seg"):
        raise RequestError("output must be image, json, all or dicom_seg.")
    read_infer(_json_form(request), desk.models[model])


def _session_upload(request: _Request, desk: Desk) -> None:
    _files(request, {"files": ()})
    if not request.files:
        raise RequestError("give the image's file, or the files of a DICOM series, as `files`.")
    if request.query.get("uncompress", "false").lower() not in ("false", "0", ""):
        raise RequestError("archives are not unpacked; send the files themselves.")
    _whole(request.query.get("expiry"), 86_400)


def _session(request: _Request, desk: Desk) -> None:
    if not _SESSION.fullmatch(request.path["name"]):
        raise Refusal(404, "there is no such session.")


def _save_label(request: _Request, desk: Desk) -> None:
    _image(request.query.get("image"), desk)
    read_tag(request.query.get("tag") or "final")
    _files(request, {"label": _LABEL_FILES})
    if not request.files:
        raise RequestError("give the label's file as `label`.")
    check_save(_json_form(request))


def _add_image(request: _Request, desk: Desk) -> None:
    if not desk.may_upload:
        raise Refusal(403, "images are not added to this datastore by viewers; put them into the archive.")
    name = request.query.get("image")
    if name is not None and (not _NAME.fullmatch(name) or name.startswith(".") or ".." in name):
        raise RequestError("an image's id must be a plain name without folders.")
    _files(request, {"file": IMAGE_SUFFIXES})
    if not request.files:
        raise RequestError("give the image's file as `file`.")
    check_save(_json_form(request))


def _known_image(request: _Request, desk: Desk) -> None:
    _image(request.query.get("image") or request.query.get("id"), desk)


def _known_label(request: _Request, desk: Desk) -> None:
    read_tag(request.query.get("tag") or "final")
    label = request.query.get("label") or request.query.get("id") or request.query.get("image")
    if label is None or not _NAME.fullmatch(label) or ".." in label:
        raise Refusal(404, "there is no such label.")
    # Labels have the ids of their images; in an archive they may be series of their own.
    if not re.fullmatch(r"[0-9.]{1,64}", label):
        _image(label, desk)


def _info(request: _Request, desk: Desk) -> None:
    _known_label(request, desk) if "tag" in request.query else _known_image(request, desk)
    check_save(_json_form(request, "info"))


def _train(request: _Request, desk: Desk) -> None:
    _trainer(request, desk)
    check_training(request.content or {})


def _train_all(request: _Request, desk: Desk) -> None:
    for name, params in _by_task(request, desk.trainers).items():
        check_training(params if name else {})


def _score(request: _Request, desk: Desk) -> None:
    _method(request, desk)
    check_strategy(request.content or {})


def _score_all(request: _Request, desk: Desk) -> None:
    for params in _by_task(request, desk.scoring).values():
        check_strategy(params)


def _by_task(request: _Request, names: Collection[str]) -> dict[str, Any]:
    """Parameters of several tasks by their names; beside them a viewer's own word about itself."""
    content = request.content or {}
    if not isinstance(content, dict):
        raise RequestError("the parameters must be a JSON object.")
    unknown = [key for key in content if key not in names and key != "client_id"]
    if unknown:
        raise RequestError(f"the parameter {str(unknown[0])[:40]!r} is unknown; there are: {', '.join(sorted(names))}.")
    check_strategy({key: value for key, value in content.items() if key == "client_id"})
    return {key: value for key, value in content.items() if key in names}


def _next(request: _Request, desk: Desk) -> None:
    _strategy(request, desk)
    check_strategy(request.content or {})


def _batch(request: _Request, desk: Desk) -> None:
    _model(request, desk)
    if request.query.get("images") not in (None, "all", "labeled", "unlabeled"):
        raise RequestError("images must be all, labeled or unlabeled.")
    check_batch(request.content or {})


def _logs(request: _Request, desk: Desk) -> None:
    _whole(request.query.get("lines"), 100_000)
    _whole(request.query.get("refresh"), 86_400)


def _whole(text: str | None, most: int) -> None:
    if text is not None and not (text.isascii() and text.isdigit() and int(text[:12]) <= most):
        raise RequestError(f"a number must be whole and at most {most}.")


def _weights(request: _Request, desk: Desk) -> None:
    _model(request, desk)


def _weights_refused(request: _Request, desk: Desk) -> None:
    raise Refusal(403, "weights are not taken from viewers; train, or give the bundle when the server is started.")


def _anything(request: _Request, desk: Desk) -> None:
    """Nothing in it reaches a file or a task."""


def _plain_path(request: _Request, desk: Desk) -> None:
    parts = request.path["name"].replace("\\", "/").split("/")
    if ".." in parts or "\x00" in request.path["name"]:
        raise Refusal(404, "there is no such page.")


_SYNC, _STATUS = "run_sync", "all check_if_running"
_ROUTES = (
    _Route("GET", r"/(info/?|favicon\.ico|docs|openapi\.json)?", _anything),
    _Route("GET HEAD", r"/(ohif|static)/(?P<name>.*)", _plain_path, "*"),
    _Route("GET HEAD", r"/ohif", _anything, "*"),
    _Route("GET", r"/proxy/dicom/(?P<name>.+)", _plain_path, "*"),
    _Route("POST", r"/infer/(?P<name>[^/]+)", _infer, "image session_id output", upload=True),
    _Route("PUT", r"/session/", _session_upload, "uncompress expiry client_id", upload=True),
    _Route("GET DELETE", r"/session/(?P<name>[^/]+)", _session, "update_ts image"),
    _Route("GET", r"/datastore/?", _anything, "output"),
    _Route("PUT", r"/datastore/(image)?", _add_image, "image", upload=True),
    _Route("GET HEAD", r"/datastore/image", _known_image, "image check_sum"),
    _Route("DELETE", r"/datastore/(image)?", _known_image, "id"),
    _Route("GET", r"/datastore/image/info", _known_image, "image"),
    _Route("PUT", r"/datastore/image/info", _info, "image"),
    _Route("PUT", r"/datastore/label", _save_label, "image tag", upload=True),
    _Route("GET HEAD", r"/datastore/label", _known_label, "label image tag"),
    _Route("DELETE", r"/datastore/label", _known_label, "id tag"),
    _Route("GET", r"/datastore/label/info", _known_label, "label tag"),
    _Route("PUT", r"/datastore/label/info", _info, "label tag"),
    _Route("POST", r"/activelearning/(?P<name>[^/]+)", _next),
    _Route("GET DELETE", r"/(train|scoring)/", _anything, _STATUS),
    _Route("POST", r"/train/", _train_all, _SYNC),
    _Route("POST", r"/train/(?P<name>[^/]+)", _train, f"{_SYNC} enqueue"),
    _Route("POST", r"/scoring/", _score_all, _SYNC),
    _Route("POST", r"/scoring/(?P<name>[^/]+)", _score, _SYNC),
    _Route("GET DELETE", r"/batch/infer", _anything, _STATUS),
    _Route("POST", r"/batch/infer/(?P<name>[^/]+)", _batch, f"images {_SYNC}"),
    _Route("GET", r"/logs/", _logs, "lines html text refresh"),
    _Route("GET", r"/model/(info/)?(?P<name>[^/]+)", _weights),
    _Route("PUT DELETE", r"/model/(?P<name>.+)", _weights_refused, "*", upload=True),
)


def _route_of(scope: Scope) -> tuple[_Route, dict[str, str]]:
    raw = scope.get("raw_path") or scope["path"].encode()
    path, method = str(scope["path"]), str(scope["method"])
    # What is decoded once must not decode to something else again.
    if unquote(path) != path and not path.startswith(("/ohif", "/static", "/proxy")):
        raise Refusal(404, "there is no such page.")
    if b"%00" in raw or "\x00" in path:
        raise Refusal(404, "there is no such page.")
    others = False
    for route in _ROUTES:
        found = re.fullmatch(route.path, path)
        if found is None:
            continue
        if method in route.methods.split():
            groups = {key: value or "" for key, value in found.groupdict().items()}
            if "name" in groups and route.query != "*" and not path.startswith("/proxy"):
                name = groups["name"]
                if not _TASK.fullmatch(name) or ".." in name:
                    raise Refusal(404, "there is no such name.")
            return route, groups
        others = True
    if others:
        raise Refusal(405, "the address is known, but not for this method.")
    raise Refusal(404, "this app does not offer that address.")


def _query_of(scope: Scope, route: _Route) -> dict[str, str]:
    text = bytes(scope.get("query_string", b""))
    if len(text) > 8192:
        raise Refusal(414, "the address is too long.")
    try:
        fields = parse_qs(text.decode("ascii"), keep_blank_values=True, max_num_fields=50, errors="strict")
    except ValueError as error:
        raise RequestError("the address cannot be read; encode its parameters as UTF-8.") from error
    if route.query == "*":
        return {}
    known = {*route.query.split(), "client_id"}
    unknown = [key for key in fields if key not in known]
    if unknown:
        raise RequestError(f"the parameter {unknown[0][:40]!r} is unknown; there are: {', '.join(sorted(known))}.")
    if any(len(values) > 1 for values in fields.values()):
        raise RequestError("each parameter may be given once.")
    return {key: values[0] for key, values in fields.items()}


async def _body(scope: Scope, receive: Receive, limit: int) -> Any:
    """The body, in memory or on disk, never more than the limit."""
    announced = _header(scope, b"content-length")
    if announced.isdigit() and int(announced) > limit:
        raise Refusal(413, f"the request is larger than {limit} bytes; send less.")
    spool: Any = SpooledTemporaryFile(max_size=16 * _MEBIBYTE)  # noqa: SIM115
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            spool.close()
            raise Refusal(400, "the request was cut off.")
        chunk = message.get("body", b"")
        length += len(chunk)
        if length > limit:
            spool.close()
            raise Refusal(413, f"the request is larger than {limit} bytes; send less.")
        spool.write(chunk)
        if not message.get("more_body"):
            return spool


def _replay(spool: Any, receive: Receive) -> Receive:
    """Give the body once more, from the start."""
    spool.seek(0)
    ended = False

    async def again() -> MutableMapping[str, Any]:
        nonlocal ended
        if ended:
            return await receive()
        chunk = spool.read(_MEBIBYTE)
        ended = len(chunk) < _MEBIBYTE
        return {"type": "http.request", "body": chunk, "more_body": not ended}

    return again


async def _taken_apart(
    scope: Scope, route: _Route, groups: Mapping[str, str], query: Mapping[str, str], spool: Any
) -> _Request:
    kind = _header(scope, b"content-type").partition(";")[0].strip().lower()
    empty = spool.tell() == 0
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded") and not empty:
        from starlette.exceptions import HTTPException
        from starlette.requests import Request

        try:
            form = await Request(scope, _replay(spool, _nothing)).form(max_files=5000, max_fields=50)
        except (HTTPException, ValueError) as error:
            raise RequestError("the form cannot be read; send multipart/form-data.") from error
        fields = {key: value for key, value in form.multi_items() if isinstance(value, str)}
        files = tuple((key, v.filename or "") for key, v in form.multi_items() if not isinstance(v, str))
        await form.close()
        if not set(fields) <= {"params", "info", "client_id"}:
            raise RequestError("the form has a field that is not known; there are params, info and files.")
        return _Request(groups, query, fields, files)
    if empty or route.query == "*":
        return _Request(groups, query)
    spool.seek(0)
    try:
        content = json.loads(spool.read())
    except (ValueError, RecursionError) as error:
        raise RequestError("the body is not valid JSON.") from error
    if content is not None and not isinstance(content, dict):
        raise RequestError("the body must be a JSON object.")
    return _Request(groups, query, content=content)


async def _nothing() -> MutableMapping[str, Any]:
    return {"type": "http.disconnect"}


def _same_origin(scope: Scope) -> None:
    """A page of another site must not drive a server that only this machine reaches."""
    origin, host = _header(scope, b"origin"), _header(scope, b"host")
    if origin and urlsplit(origin).netloc != host:
        raise Refusal(403, "requests from pages of other sites are refused; open the viewer from this server.")


def _header(scope: Scope, name: bytes) -> str:
    return next((bytes(value).decode("latin-1") for key, value in scope.get("headers", ()) if key == name), "")


async def _answer(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"detail": sentence}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
