"""A real server over a folder of images, driven by MONAI Label's own client, the one of 3D Slicer's module."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_server import Running, call, label_server, needs_label, wait
from PIL import Image
from small_bundle import disc, write_tiny_bundle
from zoo_bundle import write_bundle

pytestmark = [needs_label, pytest.mark.slow]

PATIENT = "Mustermann_Erika"
CENTRES = [(60.0, 30.0), (40.0, 40.0), (50.0, 50.0), (30.0, 30.0)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("label")
    studies = folder / "studies"
    studies.mkdir()
    for number, centre in enumerate(CENTRES):
        Image.fromarray(disc(centre=centre)).save(studies / f"{PATIENT}_{number}.png")
    (folder / "secret.png").write_bytes((studies / f"{PATIENT}_0.png").read_bytes())
    zoo = write_bundle(folder / "zoo_unet", dims=2, channels=3)
    with label_server(studies, [write_tiny_bundle(folder), zoo], folder) as running:
        yield running


def truth(number: int) -> np.ndarray:
    """(columns, rows) of the disc."""
    bright: np.ndarray = disc(centre=CENTRES[number])[..., 0].T > 128
    return bright


def infer(client: Any, model: str, image: str, **params: Any) -> tuple[np.ndarray, dict[str, Any]]:
    import nrrd

    file, about = client.infer(model, image, {"result_extension": ".nrrd", **params})
    return nrrd.read(file)[0][..., 0], about


def test_info_offers_a_model_for_each_of_the_viewers_tools(server: Running) -> None:
    info = server.client().info()
    kinds = {name: each["type"] for name, each in info["models"].items()}
    assert kinds["tiny_bundle"] == "segmentation" and kinds["tiny_bundle_clicks"] == "deepedit"
    # OHIF leaves out the first and counts from 1, whichever model answers; what is no class comes after all of them.
    assert info["labels"][:2] == ["background", "bright"] and len(info["labels"]) == 3
    assert info["models"]["tiny_bundle_look"]["labels"] == {"background": 0, "bright": 1, "uncertain": 3, "refined": 4}
    assert set(info["strategies"]) == {"expected_gain", "random", "sequential"}


@pytest.mark.parametrize("mode", ["coarse", "dis", "sliding-window"])
def test_every_mode_finds_the_disc(server: Running, mode: str) -> None:
    labels, about = infer(server.client(), "tiny_bundle", f"{PATIENT}_0", mode=mode)
    overlap = 2 * (labels.astype(bool) & truth(0)).sum() / (labels.astype(bool).sum() + truth(0).sum())
    assert overlap > (0.7 if mode == "coarse" else 0.9)
    assert about["areas_pixels"]["bright"] == labels.sum()
    assert about["windows"]["refined"] == {"coarse": 0, "dis": 4}.get(mode, about["windows"]["candidates"])
    column, row = (float(value) for value in about["centroids"]["bright"][1:3])
    assert (column, row) == pytest.approx((60, 30), abs=3)
    assert about["latencies"]["total"] > 0
    (found,) = about["objects"]
    assert (found["name"], found["size"], found["unit"]) == ("bright", labels.sum(), "pixels")
    assert set(about["queue"]) == {"place", "waited"}
    if mode == "dis":
        assert 0 <= about["uncertainty"]["share_uncertain"] < 1


def test_a_bundle_of_the_model_zoo_answers_too(server: Running) -> None:
    names = [name for name in server.client().info()["models"] if name.startswith("zoo")]
    assert len(names) == 3
    labels, about = infer(server.client(), names[0], f"{PATIENT}_0")
    assert labels.shape == truth(0).shape
    assert about["windows"]["candidates"] > 0


def test_where_to_look_is_a_label_map_and_a_ranked_list(server: Running) -> None:
    labels, about = infer(server.client(), "tiny_bundle_look", f"{PATIENT}_0")
    assert set(np.unique(labels)) <= {0, 1, 2, 3} and (labels == 3).any() and (labels == 1).any()
    places = about["places"]
    assert [place["rank"] for place in places] == list(range(1, len(places) + 1))
    # What is in doubt is the border of the disc.
    column, row = places[0]["voxel"]
    assert abs(np.hypot(column - 60, row - 30) - 20) < 8


def test_a_click_changes_its_surroundings_and_nothing_else(server: Running) -> None:
    client, image = server.client(), f"{PATIENT}_0"
    before, _ = infer(client, "tiny_bundle", image)
    point = [85, 70]  # dark ground
    assert not before[tuple(point)]
    after, about = infer(client, "tiny_bundle_clicks", image, foreground=[point], background=[], label="bright")
    assert after[tuple(point)] == 1
    changed = np.argwhere(before != after)
    assert len(changed) > 0 and (np.abs(changed - point).max(axis=0) <= 24).all()
    again, _ = infer(client, "tiny_bundle_clicks", image, foreground=[], background=[])
    assert np.array_equal(again, before)
    named, _ = infer(client, "tiny_bundle_clicks", image, bright=[point], background=[[60, 30]])
    assert named[tuple(point)] == 1 and named[60, 30] == 0
    assert about["windows"]["refined"] == 5


def test_an_existing_segmentation_is_refined_by_clicks(server: Running, tmp_path: Path) -> None:
    import nrrd

    client = server.client()
    given = np.zeros((80, 96), np.uint8)
    given[60:70, 5:25] = 1  # rows, columns: what no network would answer
    Image.fromarray(given).save(tmp_path / "label.png")
    file, _ = client.infer(
        "tiny_bundle_clicks", f"{PATIENT}_0",
        {"result_extension": ".nrrd", "foreground": [[70, 15]]}, label_in=str(tmp_path / "label.png"),
    )  # fmt: skip
    labels = nrrd.read(file)[0][..., 0]
    assert labels[70, 15] == 1
    assert np.array_equal(labels[:40], given.T[:40])


def test_strategies_give_images_that_are_not_labelled(server: Running) -> None:
    client = server.client()
    images = set(client.datastore()["objects"])
    for strategy in ("expected_gain", "random", "sequential"):
        assert client.next_sample(strategy, {})["id"] in images
    assert client.next_sample("sequential", {})["id"] == f"{PATIENT}_0"


def test_an_uploaded_image_is_a_session(server: Running, tmp_path: Path) -> None:
    import nrrd

    client = server.client()
    Image.fromarray(disc(centre=(20.0, 20.0), radius=10)).save(tmp_path / "mine.png")
    session = client.create_session(str(tmp_path / "mine.png"))["session_id"]
    file, _ = client.infer("tiny_bundle", "", {"result_extension": ".nrrd"}, session_id=session)
    found = np.argwhere(nrrd.read(file)[0][..., 0])
    assert found.mean(axis=0) == pytest.approx([20, 20], abs=3)
    client.remove_session(session)
    with pytest.raises(Exception, match=r"404|422"):
        client.get_session(session)


def test_requests_at_once_are_not_mixed(server: Running) -> None:
    client = server.client()
    alone = [infer(client, "tiny_bundle", f"{PATIENT}_{number}", mode="coarse")[0] for number in range(4)]

    def ask(number: int) -> np.ndarray:
        return infer(server.client(), "tiny_bundle", f"{PATIENT}_{number % 4}", mode="coarse")[0]

    with ThreadPoolExecutor(8) as pool:
        for number, labels in enumerate(pool.map(ask, range(16))):
            assert np.array_equal(labels, alone[number % 4])


def test_batch_training_and_the_new_model(server: Running) -> None:
    client = server.client()
    call(server, "/batch/infer/tiny_bundle?images=unlabeled", {"device": "cpu", "label_tag": "original"})
    wait(server, "/batch/infer")
    objects = client.datastore()["objects"]
    assert all("original" in each["labels"] for each in objects.values())

    for number in (0, 1, 2):  # what readers submit: a smaller disc
        file, _ = client.infer("tiny_bundle", f"{PATIENT}_{number}", {"result_extension": ".png"})
        client.save_label(f"{PATIENT}_{number}", file, "final", {"label_info": [{"name": "bright", "idx": 1}]})
    before = server.client().info()["train_stats"]["tiny_bundle"]
    assert before["versions"] == []
    client.train_start("tiny_bundle", {"max_epochs": 2, "steps_per_epoch": 2, "val_split": 0.3})
    status = wait(server, "/train/")
    assert status["status"] == "DONE", status
    assert any("epoch 2 of 2" in line and "validation Dice" in line for line in status["details"])
    stats = client.info()["train_stats"]["tiny_bundle"]
    assert stats["epoch"] == 2
    published = [each for each in stats["versions"] if each["in_use"]]
    if published:  # only if it is no worse
        assert published[0]["val_dice"] >= published[0]["former_dice"]
        infer(client, "tiny_bundle", f"{PATIENT}_3")  # with the new weights
        client.train_start("tiny_bundle", {"restore": True})
        wait(server, "/train/")
        assert not any(each["in_use"] for each in client.info()["train_stats"]["tiny_bundle"]["versions"])


def test_scores_are_there_without_being_asked_for(server: Running) -> None:
    for _ in range(120):
        book = server.work / "app" / "model" / "tiny_bundle" / "scores.json"
        if book.is_file() and len(json.loads(book.read_text())) == 4:
            break
        time.sleep(1)
    scores = json.loads(book.read_text())
    assert all(each["score"] > 0 for each in scores.values())


def test_errors_are_told_and_name_no_file(server: Running) -> None:
    client = server.client()
    with pytest.raises(Exception) as caught:
        client.infer("tiny_bundle_clicks", f"{PATIENT}_0", {"foreground": [[5000, 5000]]})
    assert "422" in caught.value.msg and "outside the image" in caught.value.msg
    with pytest.raises(Exception) as caught:
        client.infer("tiny_bundle", str(server.work.parent / "secret.png"), {})
    assert "404" in caught.value.msg and "secret" not in caught.value.msg


def test_logs_hold_no_name(server: Running) -> None:
    """Last of this file: everything above has been asked."""
    with urllib.request.urlopen(f"{server.url}/logs/?html=false&lines=100000", timeout=60) as answer:
        log = answer.read().decode()
    assert "tiny_bundle answered in" in log
    for text in (log, server.log.read_text()):
        assert PATIENT not in text
