"""The viewers as they are: every call that they make, by version, before a live server with two bundles."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import requests

pytest.importorskip("requests")

from label_clients import RECORDS, Facts, send_all
from label_server import Running, label_server, needs_label, wait
from PIL import Image
from small_bundle import disc, write_tiny_bundle

pytestmark = [needs_label, pytest.mark.slow]

IMAGE = "eye 1"


def renamed_bundle(bundle: Path, name: str, label: str) -> Path:
    """A copy of the small bundle with another name for its class."""
    other = bundle.with_name(name)
    shutil.copytree(bundle, other)
    for file in (*other.glob("configs/*.yaml"), *other.glob("configs/*.json")):
        file.write_text(file.read_text().replace("bright", label))
    return other


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("clients")
    studies = folder / "studies"
    studies.mkdir()
    for name in (IMAGE, "eye 2", "eye 3"):
        Image.fromarray(disc()).save(studies / f"{name}.png")
    first = write_tiny_bundle(folder)
    with label_server(studies, [renamed_bundle(first, "other_bundle", "dark"), first], folder) as running:
        yield running


def png(values: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(values).save(file, format="png")
    return file.getvalue()


def facts(server: Running) -> Facts:
    labels = requests.get(f"{server.url}/info/", timeout=60).json()["labels"]
    assert labels == ["background", "dark", "bright"]
    marked = np.zeros((80, 96), np.uint8)
    marked[10:30, 20:50] = 2  # `bright` is the second of the viewer's segments
    words = {"image": IMAGE, "model": "tiny_bundle", "class": "bright", "suffix": ".png", "image_suffix": ".png"}
    files = {"label": png(marked), "file": png(disc(radius=15)), "files": png(disc(radius=15))}
    return Facts(words, labels, files, marked.T.astype("<u2").tobytes(order="F"))


@pytest.mark.parametrize("record", RECORDS, ids=lambda file: file.stem)
def test_every_call_of_a_viewer_is_answered(server: Running, record: Path) -> None:
    known = facts(server)
    if record.stem.startswith("reviewer"):  # has to have something to review
        requests.put(
            f"{server.url}/datastore/label",
            params={"image": IMAGE},
            data={"params": json.dumps({"model": "tiny_bundle"})},
            files={
                "label": ("a.png", png((np.asarray(Image.open(BytesIO(known.files["label"]))) > 0).astype(np.uint8)))
            },
            timeout=60,
        ).raise_for_status()
        known = Facts(
            known.words,
            known.labels,
            {**known.files, "label": png((disc()[..., 0] > 128).astype(np.uint8))},
            known.raw_label,
        )
    failed = []
    for sent in send_all(server.url, record, known):
        print(f"{sent.answer.status_code}  {sent.what}")
        if sent.answer.status_code != sent.wanted:
            failed.append(f"{sent.what}: {sent.answer.status_code} {sent.answer.text[:300]}")
    assert not failed, "\n".join(failed)
    if record.stem.startswith(("slicer", "ohif")):
        wait(server, "/train/") if requests.get(f"{server.url}/train/", timeout=60).ok else None


def seen(server: Running, model: str, **params: object) -> tuple[set[int], dict[str, object]]:
    """Numbers in an answer, and what it says."""
    import nrrd

    file, about = server.client().infer(model, IMAGE, {"result_extension": ".nrrd", **params})
    return set(np.unique(nrrd.read(file)[0]).tolist()), about


def test_ohif_shows_every_bundles_classes_under_their_own_names(server: Running) -> None:
    """OHIF counts the names in info.labels from 1, once, and shows whatever number an answer has under the name there."""
    names = dict(enumerate(requests.get(f"{server.url}/info/", timeout=60).json()["labels"]))
    for model, name in (("other_bundle", "dark"), ("tiny_bundle", "bright"), ("tiny_bundle_clicks", "bright")):
        numbers, about = seen(server, model, restore_label_idx=False)
        assert {names[number] for number in numbers} == {"background", name}
        assert [names[int(middle[0])] for middle in about["centroids"].values()] == [name]  # type: ignore[attr-defined]
        info = requests.get(f"{server.url}/info/", timeout=60).json()["models"][model]["labels"]
        assert info == {"background": 0, name: max(numbers)}
        # Others read the names from the answer itself.
        numbers, about = seen(server, model)
        assert numbers == {0, 1} and about["label_names"] == {name: 1}


@pytest.mark.parametrize("client", ["slicer", "ohif"])
def test_a_submitted_label_is_the_class_that_was_marked(server: Running, client: str) -> None:
    known = facts(server)
    record = next(file for file in RECORDS if file.stem == f"{client}_0.8.4")
    for sent in send_all(server.url, record, known):
        if sent.what.startswith("submit label"):
            assert sent.answer.status_code == 200, sent.answer.text
    final = requests.get(f"{server.url}/datastore/?output=all", timeout=60).json()["objects"][IMAGE]["labels"]["final"]
    assert final["info"]["bundle"] == "tiny_bundle" and final["info"]["classes"] == ["bright"]
    file = requests.get(f"{server.url}/datastore/label", params={"label": IMAGE, "tag": "final"}, timeout=60).content
    kept = np.asarray(Image.open(BytesIO(file)))
    assert np.array_equal(kept > 0, np.asarray(Image.open(BytesIO(known.files["label"]))) > 0) and kept.max() == 1
