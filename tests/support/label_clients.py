"""Requests as the viewers of MONAI Label send them, from the records in ``tests/label/clients``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import requests

__all__ = ["RECORDS", "Facts", "Sent", "send_all"]

RECORDS = sorted((Path(__file__).parents[1] / "label" / "clients").glob("*.json"))
SEGMENTS_OF_SLICER, SEGMENTS_OF_OHIF = (
    "<every segment, counted from 2>",
    "<every name in info.labels, as OHIF describes segments>",
)
EVERY_NAME = "<every name in info.labels>"


@dataclass(frozen=True)
class Facts:
    """What stands for the words in braces of a record.

    Attributes:
        words: by name: image, model, class, suffix, image_suffix.
        labels: ``info.labels`` of the server.
        files: contents by the form's field: label, file, files.
        raw_label: of the label, its voxels alone.
    """

    words: Mapping[str, str]
    labels: Sequence[str]
    files: Mapping[str, bytes]
    raw_label: bytes


@dataclass(frozen=True)
class Sent:
    """A request that was sent."""

    what: str
    wanted: int
    answer: requests.Response


def send_all(url: str, record: Path, facts: Facts) -> Iterator[Sent]:
    """Send the calls of a record, one after another."""
    words = dict(facts.words)
    for call in json.loads(record.read_text())["calls"]:
        address = _filled(call["path"], {key: quote_plus(value) for key, value in words.items()})
        how: dict[str, Any] = {}
        if "json" in call:
            how["json"] = _filled(call["json"], words)
        if "form" in call:
            how["data"] = {key: json.dumps(value) for key, value in call["form"].items()}
        if "params" in call:
            how["data"] = {"params": json.dumps(_params(call["params"], words, facts.labels))}
        if "fields" in call:
            how["data"] = call["fields"]
        if "file" in call:
            field, name = (_filled(each, words) for each in call["file"])
            content = facts.raw_label if name.endswith(".bin") else facts.files[field]
            how["files"] = {field: (name, content, "application/octet-stream")}
        elif "params" in call:  # a form of several parts, though it has one
            how["files"] = {"params": (None, how.pop("data")["params"])}
        answer = requests.request(call["method"], url + address, timeout=300, **how)
        if "keep" in call and answer.ok:
            words[call["keep"]] = answer.json()[call["keep"]]
        yield Sent(call["what"], call.get("status", 200), answer)


def _params(params: Mapping[str, Any], words: Mapping[str, str], labels: Sequence[str]) -> dict[str, Any]:
    sent: dict[str, Any] = {}
    for key, value in params.items():
        if key == EVERY_NAME:
            sent.update(dict.fromkeys(labels, value))
        elif value == SEGMENTS_OF_SLICER:
            sent[key] = [{"name": name, "idx": place + 1} for place, name in enumerate(labels) if name != "background"]
        elif value == SEGMENTS_OF_OHIF:
            sent[key] = [
                {"name": name, "idx": place, "SegmentLabel": name, "SegmentAlgorithmType": "SEMIAUTOMATIC",
                 "SegmentDescription": name, "color": [255, 0, 0], "segmentAttribute": {"labelID": place}}
                for place, name in enumerate(labels) if name != "background"
            ]  # fmt: skip
        else:
            sent[_filled(key, words)] = _filled(value, words)
    return sent


def _filled(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for key, word in words.items():
            value = value.replace("{" + key + "}", word)
        return value
    if isinstance(value, dict):
        return {_filled(key, words): _filled(each, words) for key, each in value.items()}
    return [_filled(each, words) for each in value] if isinstance(value, list) else value
