"""Pages and addresses that are answered here in place of MONAI Label's, which load scripts from elsewhere or ask for nobody's name."""

from __future__ import annotations

import html
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from monai_dis.label.access import Access, NotAllowed, current_reader
from monai_dis.label.incoming import Incoming, Refusal
from monai_dis.label.inference_queue import InferenceQueue
from monai_dis.label.outgoing import Reply, file_reply, json_reply

__all__ = ["OwnAnswers"]

_LINES = 300
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body style="font-family: sans-serif; max-width: 45em; margin: 2em auto">
<h1>{title}</h1>
<p>{about}</p>
<p>Models: {models}.</p>
<ul>
<li>3D Slicer: module <i>MONAI Label</i>, with the address of this page as its server.</li>
<li><a href="ohif/">OHIF</a>, where the images are in a DICOM archive.</li>
<li><a href="info/">info</a>, <a href="datastore/?output=all">datastore</a>, <a href="queue/">queue</a>,
<a href="logs/">log</a>, <a href="openapi.json">openapi.json</a></li>
</ul>
<p>Research use only, not for diagnosis.</p>
</body></html>
"""


@dataclass(frozen=True)
class OwnAnswers:
    """What these pages need to know.

    Attributes:
        name: of the app.
        description: likewise.
        models: names.
        queue: of requests for a segmentation.
        access: who may ask.
        log: file of the server's log.
        image_file: gives the file of an image by its id.
        label_file: gives the file of a label by its id and tag.
    """

    name: str
    description: str
    models: tuple[str, ...]
    queue: InferenceQueue
    access: Access
    log: Path
    image_file: Callable[[str], str]
    label_file: Callable[[str, str], str]

    def __call__(self, name: str, request: Incoming) -> Reply:
        """The answer of a route."""
        answers: Mapping[str, Callable[[Incoming], Reply]] = {
            "start": self._start,
            "queue": self._queue,
            "auth": self._auth,
            "token": self._token,
            "valid": self._valid,
            "logs": self._logs,
            "image": lambda asked: _file(self.image_file(asked.query["image"])),
            "label": lambda asked: _file(
                self.label_file(asked.query.get("label", ""), asked.query.get("tag") or "final")
            ),
        }
        return answers[name](request)

    def _start(self, _: Incoming) -> Reply:
        words = {"title": self.name, "about": self.description, "models": ", ".join(self.models)}
        page = _PAGE.format(**{key: html.escape(value) for key, value in words.items()})
        return Reply(page.encode(), "text/html; charset=utf-8")

    def _queue(self, _: Incoming) -> Reply:
        here = len(self.queue)
        return json_reply({"computing": min(here, 1), "waiting": max(0, here - 1), "most_waiting": self.queue.most})

    def _auth(self, _: Incoming) -> Reply:
        return json_reply({"enabled": self.access.token is not None})

    def _token(self, request: Incoming) -> Reply:
        """3D Slicer asks for a name and a password: the password is the token."""
        token = self.access.issued(request.form.get("username", ""), request.form.get("password", ""))
        if token is None:
            raise NotAllowed
        return json_reply({"access_token": token, "token_type": "bearer"})

    def _valid(self, _: Incoming) -> Reply:
        return json_reply({"username": current_reader.get(), "name": current_reader.get()})

    def _logs(self, request: Incoming) -> Reply:
        lines = int(request.query.get("lines") or _LINES)
        try:
            with self.log.open(encoding="utf-8", errors="replace") as text:
                last = "".join(deque(text, lines))
        except OSError:
            last = ""
        return Reply(last.encode(), "text/plain; charset=utf-8")


def _file(place: str) -> Reply:
    file = Path(place)
    if not place or not file.is_file():
        raise Refusal(404, "there is no such file in the datastore; ask /datastore/?output=all for what there is.")
    return file_reply(file)
