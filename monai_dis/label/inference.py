"""A request for a segmentation, from the form that a viewer sends to the form that it reads."""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_dis.data.image_files import image_suffix
from monai_dis.label.endpoints import json_form
from monai_dis.label.incoming import Incoming
from monai_dis.label.outgoing import Reply
from monai_dis.label.request import InferRequest, read_infer

__all__ = ["Inference", "answered", "reply"]


@dataclass(frozen=True)
class Inference:
    """What is to be segmented, and how.

    Attributes:
        model: name.
        image: id in the datastore; empty for an uploaded one.
        session: of an uploaded image; empty where there is none.
        file: an image that came with the request.
        label: a segmentation that came with it.
        request: mode, budget, points and the like.
        seg: whether the answer is a DICOM SEG.
    """

    model: str
    image: str
    session: str
    file: Path | None
    label: Path | None
    request: InferRequest
    seg: bool = False


def answered(
    incoming: Incoming,
    classes: Mapping[str, Mapping[int, str]],
    compute: Callable[[Inference], tuple[Path, dict[str, Any]]],
) -> tuple[Path, dict[str, Any]]:
    """Answer a request whose form has been checked.

    Args:
        incoming: the form.
        classes: names of classes by the name of the model.
        compute: gives the file of an answer, and what it says.
    """
    model, query = incoming.path["name"], incoming.query
    request = read_infer(json_form(incoming), classes[model])
    with _saved(incoming, "file") as file, _saved(incoming, "label") as label:
        session = query.get("session_id", "")
        image = "" if session or file else query.get("image", "")
        seg = query.get("output") == "dicom_seg"
        return compute(Inference(model, image, session, file, label, request, seg))


def reply(file: Path, about: Mapping[str, Any], output: str) -> Reply:
    """What a viewer reads; the file is removed.

    Args:
        file: of the answer.
        about: what is said besides.
        output: ``json``, ``image``, ``dicom_seg``, or anything else for both in a form.
    """
    try:
        content = file.read_bytes()
    finally:
        file.unlink(missing_ok=True)
    said = json.dumps(about).encode()
    if output == "json":
        return Reply(said)
    named = (b"content-disposition", f'attachment; filename="{file.name}"'.encode())
    if output in ("image", "dicom_seg"):
        kind = "application/dicom" if file.suffix == ".dcm" else "application/octet-stream"
        return Reply(content, kind, headers=(named,))
    boundary = uuid.uuid4().hex
    parts = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n'.encode(),
        said,
        f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{file.name}"\r\n'.encode(),
        b"Content-Type: application/octet-stream\r\n\r\n",
        content,
        f"\r\n--{boundary}--\r\n".encode(),
    )
    return Reply(b"".join(parts), f"multipart/form-data; boundary={boundary}")


@contextmanager
def _saved(incoming: Incoming, name: str) -> Iterator[Path | None]:
    """An uploaded file on disk, for as long as it is needed."""
    upload = incoming.uploads.get(name)
    if upload is None:
        yield None
        return
    suffix = image_suffix(upload.filename or "") or Path(upload.filename or "").suffix
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}{suffix}"
        with file.open("wb") as written:
            upload.file.seek(0)
            shutil.copyfileobj(upload.file, written)
        yield file
