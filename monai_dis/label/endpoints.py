"""The addresses that the server offers, and what is checked of a request to each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from monai_dis.data.image_files import IMAGE_SUFFIXES
from monai_dis.label.incoming import Incoming, Refusal, Scope
from monai_dis.label.request import (
    RequestError,
    check_batch,
    check_save,
    check_strategy,
    check_training,
    read_infer,
    read_tag,
)

__all__ = ["Desk", "Route", "decoded_wholly", "json_form", "query_of", "route_of"]

_SESSION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAME = re.compile(r"[^/\\\x00-\x1f\x7f:*?\"<>|]{1,200}")
_TASK = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_LABEL_FILES = (*IMAGE_SUFFIXES, ".bin")


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
        may_change_images: whether images that are there may be replaced and removed.
    """

    models: Mapping[str, Mapping[int, str]]
    trainers: Collection[str]
    strategies: Collection[str]
    scoring: Collection[str]
    images: Callable[[], Collection[str]]
    may_upload: bool = True
    may_change_images: bool = False


@dataclass(frozen=True)
class Route:
    """An address.

    Attributes:
        methods: of HTTP, separated by spaces.
        path: regular expression; the group ``name`` is a task, a session or a page.
        check: raises where a request is not to be answered; returns what is to be taken for the JSON that was sent, where there was any.
        query: names of parameters, separated by spaces; ``"*"`` for a page, which may have any.
        upload: whether files are sent.
        own: name of the answer that is given here and not by MONAI Label.
    """

    methods: str
    path: str
    check: Callable[[Incoming, Desk], dict[str, Any] | None]
    query: str = ""
    upload: bool = False
    own: str = ""


def _task(kind: str, names: Callable[[Desk], Collection[str]]) -> Callable[[Incoming, Desk], str]:
    def check(request: Incoming, desk: Desk) -> str:
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


def json_form(request: Incoming, key: str = "params") -> dict[str, Any]:
    """A field of a form that holds a JSON object; an absent one is empty."""
    text = request.form.get(key, "{}") or "{}"
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the field {key} is not valid JSON.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise RequestError(f"the field {key} must be a JSON object.")
    return content


def _files(request: Incoming, allowed: Mapping[str, Collection[str]]) -> None:
    for key, name in request.files:
        if key not in allowed:
            continue
        # Clients send the whole path of their file; its last part is all that is used of it.
        last = re.split(r"[/\\]", name)[-1]
        if not _NAME.fullmatch(last) or last.startswith(".") or ".." in last:
            raise RequestError("the name of an uploaded file must be a plain file name.")
        if allowed[key] and not any(name.lower().endswith(suffix) for suffix in allowed[key]):
            raise RequestError(f"an uploaded file must be one of {', '.join(allowed[key])}.")


def _infer(request: Incoming, desk: Desk) -> None:
    model = _model(request, desk)
    _files(request, {"file": IMAGE_SUFFIXES, "label": _LABEL_FILES})
    session = request.query.get("session_id")
    if session and not _SESSION.fullmatch(session):
        raise Refusal(404, "there is no such session; upload the image again.")
    # 3D Slicer names the volume as it is called in the scene beside the session in which it was uploaded.
    if not (session or request.has_file("file")):
        _image(request.query.get("image"), desk)
    output = request.query.get("output")
    if output not in (None, "", "image", "json", "all", "dicom_seg"):
        raise RequestError("output must be image, json, all or dicom_seg.")
    read_infer(json_form(request), desk.models[model])


def _session_upload(request: Incoming, desk: Desk) -> None:
    _files(request, {"files": ()})
    if not request.has_file("files"):
        raise RequestError("give the image's file, or the files of a DICOM series, as `files`.")
    if request.query.get("uncompress", "false").lower() not in ("false", "0", ""):
        raise RequestError("archives are not unpacked; send the files themselves.")
    _whole(request.query.get("expiry"), 86_400)


def _session(request: Incoming, desk: Desk) -> None:
    if not _SESSION.fullmatch(request.path["name"]):
        raise Refusal(404, "there is no such session.")


def _save_label(request: Incoming, desk: Desk) -> None:
    _image(request.query.get("image"), desk)
    read_tag(request.query.get("tag") or "final")
    _files(request, {"label": _LABEL_FILES})
    if not request.has_file("label"):
        raise RequestError("give the label's file as `label`.")
    check_save(json_form(request))


def _add_image(request: Incoming, desk: Desk) -> None:
    if not desk.may_upload:
        raise Refusal(403, "images are not added to this datastore by viewers; put them into the archive.")
    name = request.query.get("image")
    if name is not None and (not _NAME.fullmatch(name) or name.startswith(".") or ".." in name):
        raise RequestError("an image's id must be a plain name without folders.")
    _files(request, {"file": IMAGE_SUFFIXES})
    if not request.has_file("file"):
        raise RequestError("give the image's file as `file`.")
    check_save(json_form(request))


def _remove_image(request: Incoming, desk: Desk) -> None:
    _known_image(request, desk)
    if not desk.may_change_images:
        raise Refusal(
            403, "images are not removed through this server; remove the file itself, or start with --change-images."
        )


def _known_image(request: Incoming, desk: Desk) -> None:
    _image(request.query.get("image") or request.query.get("id"), desk)


def _known_label(request: Incoming, desk: Desk) -> None:
    read_tag(request.query.get("tag") or "final")
    label = request.query.get("label") or request.query.get("id") or request.query.get("image")
    if label is None or not _NAME.fullmatch(label) or ".." in label:
        raise Refusal(404, "there is no such label.")
    # Labels have the ids of their images; in an archive they may be series of their own.
    if not re.fullmatch(r"[0-9.]{1,64}", label):
        _image(label, desk)


def _info(request: Incoming, desk: Desk) -> None:
    _known_label(request, desk) if "tag" in request.query else _known_image(request, desk)
    check_save(json_form(request, "params" if "params" in request.form else "info"))


def _train(request: Incoming, desk: Desk) -> dict[str, Any]:
    _trainer(request, desk)
    return check_training(request.content or {})


def _train_all(request: Incoming, desk: Desk) -> dict[str, Any]:
    return {name: check_training(params) for name, params in _by_task(request, desk.trainers).items()}


def _score(request: Incoming, desk: Desk) -> dict[str, Any]:
    _method(request, desk)
    return check_strategy(request.content or {})


def _score_all(request: Incoming, desk: Desk) -> dict[str, Any]:
    return {name: check_strategy(params) for name, params in _by_task(request, desk.scoring).items()}


def _by_task(request: Incoming, names: Collection[str]) -> dict[str, Any]:
    """Parameters of several tasks by their names; what a viewer says beside them is left out."""
    content = request.content or {}
    if not isinstance(content, dict):
        raise RequestError("the parameters must be a JSON object.")
    check_strategy({key: value for key, value in content.items() if key not in names})
    return {key: value for key, value in content.items() if key in names}


def _next(request: Incoming, desk: Desk) -> dict[str, Any]:
    _strategy(request, desk)
    return check_strategy(request.content or {})


def _batch(request: Incoming, desk: Desk) -> dict[str, Any]:
    _model(request, desk)
    if request.query.get("images") not in (None, "all", "labeled", "unlabeled"):
        raise RequestError("images must be all, labeled or unlabeled.")
    return check_batch(request.content or {})


def _logs(request: Incoming, desk: Desk) -> None:
    _whole(request.query.get("lines"), 100_000)
    _whole(request.query.get("refresh"), 86_400)


def _whole(text: str | None, most: int) -> None:
    if text is not None and not (text.isascii() and text.isdigit() and int(text[:12]) <= most):
        raise RequestError(f"a number must be whole and at most {most}.")


def _weights(request: Incoming, desk: Desk) -> None:
    _model(request, desk)


def _weights_refused(request: Incoming, desk: Desk) -> None:
    raise Refusal(403, "weights are not taken from viewers; train, or give the bundle when the server is started.")


def _anything(request: Incoming, desk: Desk) -> None:
    """Nothing in it reaches a file or a task."""


def _plain_path(request: Incoming, desk: Desk) -> None:
    name = decoded_wholly(request.path["name"])
    if ".." in name.replace("\\", "/").split("/") or "\x00" in name:
        raise Refusal(404, "there is no such page.")


def _dicomweb(request: Incoming, desk: Desk) -> None:
    """Studies and what is below them: nothing else of what the archive's server may offer."""
    if not _DICOMWEB.fullmatch(request.path["name"]):
        raise Refusal(404, "only DICOMweb addresses of studies, series and instances are passed on to the archive.")


#: Paths of DICOMweb, as viewers ask for them; no part may begin with a dot or be encoded.
_DICOMWEB = re.compile(r"((wado|qido)/)?(studies|series|instances)(/[A-Za-z0-9][A-Za-z0-9.,_-]*)*/?")
_SYNC, _STATUS = "run_sync", "all check_if_running"
_ROUTES = (
    Route("GET HEAD", r"/", _anything, own="start"),
    Route("GET", r"/(info/?|favicon\.ico|openapi\.json)", _anything),
    Route("GET", r"/queue/?", _anything, own="queue"),
    Route("GET", r"/auth/?", _anything, own="auth"),
    Route("POST", r"/auth/token", _anything, own="token"),
    Route("GET", r"/auth/token/valid", _anything, own="valid"),
    Route("GET HEAD", r"/(ohif|static)/(?P<name>.*)", _plain_path, "*"),
    Route("GET HEAD", r"/ohif", _anything, "*"),
    Route("GET", r"/proxy/dicom/(?P<name>.+)", _dicomweb, "*"),
    Route("POST", r"/infer/(?P<name>[^/]+)", _infer, "image session_id output", upload=True, own="infer"),
    Route("PUT", r"/session/", _session_upload, "uncompress expiry", upload=True),
    Route("GET DELETE", r"/session/(?P<name>[^/]+)", _session, "update_ts image"),
    Route("GET", r"/datastore/?", _anything, "output"),
    Route("PUT", r"/datastore/(image)?", _add_image, "image", upload=True),
    Route("GET", r"/datastore/image", _known_image, "image", own="image"),
    Route("HEAD", r"/datastore/image", _known_image, "image check_sum"),
    Route("DELETE", r"/datastore/(image)?", _remove_image, "id"),
    Route("GET", r"/datastore/image/info", _known_image, "image"),
    Route("PUT", r"/datastore/image/info", _info, "image"),
    Route("PUT", r"/datastore/label", _save_label, "image tag", upload=True),
    Route("GET", r"/datastore/label", _known_label, "label tag", own="label"),
    Route("HEAD", r"/datastore/label", _known_label, "label image tag"),
    Route("DELETE", r"/datastore/label", _known_label, "id tag"),
    Route("GET", r"/datastore/label/info", _known_label, "label tag"),
    Route("PUT", r"/datastore/(label/info|updatelabelinfo)", _info, "label tag"),
    Route("POST", r"/activelearning/(?P<name>[^/]+)", _next),
    Route("GET DELETE", r"/(train|scoring)/", _anything, _STATUS),
    Route("POST", r"/train/", _train_all, _SYNC),
    Route("POST", r"/train/(?P<name>[^/]+)", _train, f"{_SYNC} enqueue"),
    Route("POST", r"/scoring/", _score_all, _SYNC),
    Route("POST", r"/scoring/(?P<name>[^/]+)", _score, _SYNC),
    Route("GET DELETE", r"/batch/infer", _anything, _STATUS),
    Route("POST", r"/batch/infer/(?P<name>[^/]+)", _batch, f"images {_SYNC}"),
    Route("GET", r"/logs/", _logs, "lines html text refresh", own="logs"),
    Route("GET", r"/model/(info/)?(?P<name>[^/]+)", _weights),
    Route("PUT DELETE", r"/model/(?P<name>.+)", _weights_refused, "*", upload=True),
)


def decoded_wholly(text: str) -> str:
    """A path without any percent encoding, however often it was encoded: what others may make of it further on.

    Example:
        >>> decoded_wholly("%25252e%252e/x")
        '../x'
    """
    for _ in range(8):
        plain = unquote(text)
        if plain == text:
            return text
        text = plain
    raise Refusal(404, "there is no such page.")


def route_of(scope: Scope) -> tuple[Route, dict[str, str]]:
    """The address that a request is for, and the values of its groups.

    Raises:
        Refusal: when it is not offered.
    """
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


def query_of(scope: Scope, route: Route) -> dict[str, str]:
    """The parameters of an address that are known to its route, each given once; others are left out.

    Raises:
        Refusal: when the address is too long.
        RequestError: when a parameter cannot be read.
    """
    text = bytes(scope.get("query_string", b""))
    if len(text) > 8192:
        raise Refusal(414, "the address is too long.")
    try:
        fields = parse_qs(text.decode("ascii"), keep_blank_values=True, max_num_fields=50, errors="strict")
    except ValueError as error:
        raise RequestError("the address cannot be read; encode its parameters as UTF-8.") from error
    if route.query == "*":
        return {}
    if any(len(values) > 1 for values in fields.values()):
        raise RequestError("each parameter may be given once.")
    known = route.query.split()
    return {key: values[0] for key, values in fields.items() if key in known}
