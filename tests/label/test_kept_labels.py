"""The datastore loses nothing: versions, damaged index, full disk, killed processes, images that stay."""

from __future__ import annotations

import json
import logging
import os
import random
import resource
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from label_server import needs_label
from label_store import make_store, submit, submit_for_ever, write_images
from PIL import Image

from monai_dis.errors import DataError, OutputError
from monai_dis.label.access import current_reader
from monai_dis.label.incoming import Refusal
from monai_dis.label.review import ReviewState, state_of

pytestmark = needs_label

INDEX = "datastore_v2.json"


def value_of(studies: Path, image: str, tag: str = "final") -> int:
    return int(np.asarray(Image.open(studies / "labels" / tag / f"{image}.png"))[0, 0])


def test_a_submit_keeps_the_former_label_and_who_made_it(tmp_path: Path) -> None:
    (image,) = write_images(tmp_path / "s", 1)
    store = make_store(tmp_path / "s")
    submit(store, image, 1, tmp_path, client_id="reader 1")
    token = current_reader.set("reader 2")  # the name that came with the token counts
    submit(store, image, 2, tmp_path, client_id="somebody")
    current_reader.reset(token)
    submit(store, image, 3, tmp_path)
    assert [value_of(tmp_path / "s", image, tag) for tag in ("version_1", "version_2", "final")] == [1, 2, 3]
    labels = make_store(tmp_path / "s").json()["objects"][image]["labels"]
    assert [labels[tag]["info"]["saved_by"] for tag in ("version_1", "version_2", "final")] == [
        "reader 1",
        "reader 2",
        "unknown",
    ]
    assert labels["version_1"]["info"]["version_of"] == "final" and labels["final"]["info"]["saved"].startswith("20")


def test_a_removed_final_label_can_be_had_again(tmp_path: Path) -> None:
    (image,) = write_images(tmp_path / "s", 1)
    store = make_store(tmp_path / "s")
    submit(store, image, 1, tmp_path)
    store.remove_label(image, "final")
    assert (
        value_of(tmp_path / "s", image, "version_1") == 1
        and not (tmp_path / "s" / "labels" / "final" / f"{image}.png").exists()
    )
    assert store.review_of(image) is ReviewState.OPEN
    with pytest.raises(Refusal):
        store.remove_label(image, "final")


@pytest.mark.parametrize(
    "damage", [b"", b'{"name": "new-da', b"[]", b"\x00" * 300, b'{"name": 1, "objects": {"a": 2}}']
)
@pytest.mark.parametrize("former_too", [False, True])
def test_a_damaged_index_is_made_again(
    tmp_path: Path, damage: bytes, former_too: bool, caplog: pytest.LogCaptureFixture
) -> None:
    studies = tmp_path / "s"
    images = write_images(studies, 3)
    store = make_store(studies)
    submit(store, images[0], 1, tmp_path, client_id="reader 1")
    submit(store, images[1], 2, tmp_path, client_id="reader 2")
    (studies / INDEX).write_bytes(damage)
    if former_too:
        (studies / f".former-{INDEX}").write_bytes(damage)
    with caplog.at_level(logging.WARNING, "monai_dis"):
        again = make_store(studies)
    assert "index was damaged" in caplog.text
    assert sorted(again.list_images()) == images
    assert sorted(again.get_labeled_images()) == images[:2]
    # What was known of the label before the last is in the index before the last.
    who = again.json()["objects"][images[0]]["labels"]["final"]["info"].get("saved_by")
    assert who == (None if former_too else "reader 1")
    assert sorted(make_store(studies).list_images()) == images  # and it is whole on the disk
    assert [file.read_bytes() for file in studies.glob(f"{INDEX}.damaged-*")] == [damage]


def test_what_a_full_disk_leaves_counts_as_nothing(tmp_path: Path) -> None:
    studies = tmp_path / "s"
    (image, other) = write_images(studies, 2)
    make_store(studies)
    (studies / "labels" / "final" / f"{image}.png").touch()
    (studies / ".part-12345678-eye.png").write_bytes(b"unfinished")
    (studies / INDEX).unlink()
    store = make_store(studies)
    assert sorted(store.list_images()) == [image, other] and store.get_labeled_images() == []


@pytest.mark.parametrize("room", [3000, 5000])  # for the index and not for the label, and for neither
def test_a_full_disk_changes_nothing(tmp_path: Path, room: int) -> None:
    studies = tmp_path / "s"
    (image,) = write_images(studies, 1)
    store = make_store(studies)
    submit(store, image, 1, tmp_path)
    before = (studies / INDEX).read_text()
    large = tmp_path / "label.png"
    Image.fromarray(np.full((80, 80), 2, np.uint8)).save(large, compress_level=0)
    known = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, known[1]))
    try:
        with pytest.raises((OutputError, OSError)) as full:
            store.save_label(image, str(large), "final", {"client_id": "reader 2"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, known)
    from monai_dis.label.guard import sentence_for

    assert sentence_for(full.value)[0] == 507
    assert (studies / INDEX).read_text() == before and value_of(studies, image) == 1
    assert set(store.json()["objects"][image]["labels"]) == {"final"}
    assert not list(studies.rglob(".part-*")) and not list(studies.glob("labels/version_1/*"))
    submit(store, image, 3, tmp_path)  # and with room again it goes on
    assert value_of(studies, image) == 3 and value_of(studies, image, "version_1") == 1


def test_an_image_that_is_there_stays(tmp_path: Path) -> None:
    studies = tmp_path / "s"
    (image,) = write_images(studies, 1)
    other = tmp_path / "other.png"
    Image.fromarray(np.full((4, 4), 9, np.uint8)).save(other)
    store = make_store(studies)
    with pytest.raises(Refusal) as refused:
        store.add_image(image, str(other), {})
    assert refused.value.status == 409
    assert store.add_image(image, str(studies / f"{image}.png"), {}) == image  # the same once more
    assert store.add_image("new", str(other), {"client_id": "me"}) == "new"
    submit(store, image, 1, tmp_path)
    changing = make_store(studies, change_images=True)
    changing.add_image(image, str(other), {})
    assert int(np.asarray(Image.open(studies / f"{image}.png"))[0, 0]) == 9
    assert changing.get_labeled_images() == [image]


def test_a_label_of_no_image_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "s", 1)
    with pytest.raises(DataError, match="no such image"):
        submit(make_store(tmp_path / "s"), "nobody", 1, tmp_path)


def test_a_returned_case_is_open_again_and_not_learned_from(tmp_path: Path) -> None:
    images = write_images(tmp_path / "s", 4)
    store = make_store(tmp_path / "s")
    for image in images[:3]:
        submit(store, image, 1, tmp_path)
    store.update_label_info(
        images[0], "final", {"segmentationMeta": {"status": "approved", "approvedBy": "chief"}, "x": 1}
    )
    store.update_label_info(
        images[1], "final", {"segmentationMeta": {"status": "flagged", "comment": "the vein\nis cut"}}
    )
    assert store.status()["review"] == {"open": 1, "submitted": 1, "approved": 1, "returned": 1}
    assert sorted(store.get_unlabeled_images()) == [images[1], images[3]]
    assert sorted(Path(each["image"]).stem for each in store.datalist()) == [images[0], images[2]]
    assert {name: each["image"]["info"]["review"] for name, each in store.json()["objects"].items()} == dict(
        zip(images, ["approved", "returned", "submitted", "open"], strict=True)
    )
    submit(store, images[1], 2, tmp_path)  # corrected
    assert store.review_of(images[1]) is ReviewState.SUBMITTED


@pytest.mark.parametrize(
    ("status", "state"),
    [("approved", "approved"), ("Flagged", "returned"), ("segmented", "submitted"), ("", "submitted")],
)
def test_review_states(status: str, state: str) -> None:
    assert state_of({"segmentationMeta": {"status": status}}).value == state
    assert state_of({"segmentationMeta": None}) is ReviewState.SUBMITTED


def test_killed_while_labels_are_submitted(tmp_path: Path, kills: int = 50) -> None:
    """Whatever was said to be done is there, with its former labels, and nothing is half written."""
    studies, chance, said, most = tmp_path / "s", random.Random(0), 0, 0
    images = write_images(studies, 3)
    for _ in range(kills):
        read, write = os.pipe()
        process = get_context("fork").Process(target=submit_for_ever, args=(studies, tmp_path, most, write))
        process.start()
        os.close(write)
        with os.fdopen(read) as done:
            assert done.readline() == "ready\n"
            time.sleep(chance.uniform(0.001, 0.1))
            process.kill()
            numbers = [int(line) for line in done if line.endswith("\n")]
        process.join()
        said += len(numbers)
        wanted = {f"reader {number}" for number in numbers}
        json.loads((studies / INDEX).read_text())  # whole, without being mended
        labels = {name: each["labels"] for name, each in make_store(studies).json()["objects"].items()}
        assert sorted(labels) == images
        readers = {each["info"].get("saved_by") for tags in labels.values() for each in tags.values()} - {None}
        assert wanted <= readers, wanted - readers
        most = max([most, *numbers, *(int(reader.split()[1]) for reader in readers)])
    for image, tags in labels.items():
        for tag in tags:
            Image.open(studies / "labels" / tag / f"{image}.png").load()
    kept = sum(len(tags) for tags in labels.values())
    assert kept >= said  # a label whose index was not written yet counts too
    print(f"{kills} kills, {said} labels said to be submitted, {kept} there")


def test_a_label_is_kept_here_before_it_is_sent_and_also_when_the_archive_fails(tmp_path: Path) -> None:
    """A reader's work is lost in neither case, and what is not kept is not sent either."""
    (image,) = write_images(tmp_path / "s", 1)
    store, file, there = make_store(tmp_path / "s"), tmp_path / "label.png", []
    Image.fromarray(np.full((64, 64), 3, np.uint8)).save(file)

    def sent() -> dict[str, str]:
        there.append(make_store(tmp_path / "s").get_label_uri(image, "final"))
        return {"SeriesInstanceUID": "1.2.3"}

    def refused() -> dict[str, str]:
        raise ConnectionError("the archive is gone")

    with pytest.raises(Refusal, match="kept on this server") as error:
        store.save_and_send(image, str(file), "final", {}, refused)
    assert error.value.status == 502
    assert Path(store.get_label_uri(image, "final")).read_bytes() == file.read_bytes()
    store.save_and_send(image, str(file), "final", {}, sent)
    assert Path(there[0]).is_file()
    assert make_store(tmp_path / "s").get_label_info(image, "final")["SeriesInstanceUID"] == "1.2.3"
    with pytest.raises(DataError):
        store.save_and_send("nobody", str(file), "final", {}, sent)
    assert len(there) == 1
