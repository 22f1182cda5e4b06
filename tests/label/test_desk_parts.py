"""The parts of the reading desk, each alone: requests, files, places, scores, versions, training. Run without MONAI Label."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_bundle import disc

from monai_dis.checks.limits import Limits
from monai_dis.errors import BundleError, DataError, DisError, ImageError
from monai_dis.label.answer import describe
from monai_dis.label.desk import choose_models, strip_paths
from monai_dis.label.discreet_logs import keep_logs_discreet
from monai_dis.label.files import write_answer, write_nrrd
from monai_dis.label.look import look_map, ranked_places
from monai_dis.label.model import LabelModel
from monai_dis.label.published import Shelf
from monai_dis.label.request import InferRequest, Point, RequestError, read_infer
from monai_dis.label.scores import ScoreBook, expected_gain, next_image, score_images
from monai_dis.label.serving import Serving, app_folder, check_serving
from monai_dis.label.training import LabelledCase, Schedule, split_cases, train, usable, validation_dice
from monai_dis.pipeline import Model

CLASSES = {1: "liver", 2: "kidney"}


def test_points_of_both_conventions() -> None:
    deepedit = read_infer({"kidney": [[1, 2, 3]], "liver": [], "background": [[4, 5, 6]], "label": "kidney"}, CLASSES)
    assert set(deepedit.points) == {Point((1, 2, 3), 2), Point((4, 5, 6), 0)}
    deepgrow = read_infer({"foreground": [[1, 2, 3]], "background": [[4, 5, 6]], "label": "kidney"}, CLASSES)
    assert set(deepgrow.points) == set(deepedit.points)
    assert read_infer({"foreground": [[1, 2]], "label": "what I drew"}, CLASSES).points == (Point((1, 2), 1),)


def test_a_panel_that_nobody_touched_means_the_defaults() -> None:
    untouched = {"mode": ["dis", "coarse"], "budget": ["bundle", "0.1"], "device": ["auto", "cpu"], "client_id": None}
    assert read_infer(untouched, CLASSES) == InferRequest()


@pytest.mark.parametrize(
    ("asked", "budget"), [("0.1", 0.1), (0.2, 0.2), ("auto", "auto"), ("bundle", None), (None, None)]
)
def test_budgets(asked: Any, budget: Any) -> None:
    assert read_infer({"budget": asked}, CLASSES).budget == budget


@pytest.fixture
def model(tiny_bundle: Path) -> LabelModel:
    return LabelModel(tiny_bundle)


def test_preview_and_answer_share_the_image(model: LabelModel, photo: Path) -> None:
    preview = model.infer(photo, read_infer({"mode": "coarse"}, model.classes))
    answer = model.infer(photo, read_infer({}, model.classes))
    assert "read" in preview.about["latencies"] and "read" not in answer.about["latencies"]
    assert preview.labels.shape == answer.labels.shape == (96, 80)
    again = model.infer(photo, read_infer({}, model.classes))
    assert np.array_equal(again.labels, answer.labels) and "refine" not in again.about["latencies"]
    Image.fromarray(disc(centre=(20.0, 50.0))).save(photo)  # another picture under the same name
    other = model.infer(photo, read_infer({}, model.classes))
    assert not np.array_equal(other.labels, answer.labels)


def test_a_taken_back_click_is_gone(model: LabelModel, photo: Path) -> None:
    def labels(*points: list[int]) -> Any:
        return model.infer(photo, read_infer({"foreground": list(points)}, model.classes)).labels

    both, one, none = labels([10, 70], [90, 70]), labels([90, 70]), labels()
    assert both[10, 70] and both[90, 70] and one[90, 70]
    assert not one[10, 70] and not none[90, 70]


def test_points_outside_the_file_are_refused(model: LabelModel, photo: Path) -> None:
    with pytest.raises(ImageError, match="outside the image of 96 x 80"):
        model.infer(photo, read_infer({"foreground": [[96, 3]]}, model.classes))


def test_where_to_look(model: LabelModel, photo: Path) -> None:
    answer = model.infer(photo, read_infer({}, model.classes), look=True)
    assert answer.classes == {1: "bright", 2: "uncertain", 3: "refined"}
    assert set(np.unique(answer.labels)) == {0, 1, 2, 3}
    ranks = [place["uncertainty"] for place in answer.about["places"]]
    assert ranks and all(0 < value <= 1 for value in ranks)


def test_places_are_ranked_by_hand() -> None:
    from monai.data import MetaTensor

    from monai_dis.pipeline.predict import Prediction, Stopwatch

    doubt = torch.zeros(40, 40)
    doubt[5:8, 5:8] = 1.0  # nine pixels in doubt
    doubt[30, 20] = 1.0
    prediction = Prediction(
        labels=torch.zeros(1, 40, 40), num_classes=2, image=MetaTensor(torch.zeros(1, 40, 40)), prepared_size=(40, 40),
        statistics={"windows": [], "windows_total": 4}, boxes=(), watch=Stopwatch(torch.device("cpu")), peak_memory_bytes=0,
        uncertainty=doubt,
    )  # fmt: skip
    first, second = ranked_places(prediction)
    assert (first.voxel, first.uncertain_voxels, second.voxel) == ((6, 6), 9, (30, 20))
    assert (look_map(prediction, {1: "a"}) == 2).sum() == 10
    assert describe(prediction, {1: "a"}, "x.png")["areas_pixels"] == {"a": 0}


def test_nrrd_is_what_itk_reads(tmp_path: Path) -> None:
    itk = pytest.importorskip("itk")
    labels = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    affine = np.array([[0, 2.0, 0, 5], [3.0, 0, 0, 6], [0, 0, -1.0, 7], [0, 0, 0, 1]])
    for compress in (False, True):
        write_nrrd(labels, affine, tmp_path / "a.nrrd", dtype="uint16", compress=compress)
        image = itk.imread(str(tmp_path / "a.nrrd"))
        assert np.array_equal(itk.array_from_image(image).T, labels)
        assert list(image.GetOrigin()) == [5, 6, 7] and list(image.GetSpacing()) == [3, 2, 1]
        assert np.array_equal(itk.array_from_matrix(image.GetDirection()), affine[:3, :3] / [3, 2, 1])


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".seg.nrrd", ".png"])
def test_answers_are_written_in_every_format(suffix: str, model: LabelModel, photo: Path, tmp_path: Path) -> None:
    from monai_dis.label.files import segment_entries

    if suffix == ".nii.gz":
        pytest.skip("a picture has no NIfTI")
    answer = model.infer(photo, read_infer({}, model.classes))
    file = tmp_path / f"answer{suffix}"
    write_answer(answer.labels, answer.image, file, segment_entries(model.metadata, answer.classes))
    assert file.stat().st_size > 0
    if suffix == ".png":
        assert np.array_equal(np.asarray(Image.open(file)).T > 0, answer.labels > 0)


def test_published_weights_are_used_and_brought_back(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    model = LabelModel(tiny_bundle, weights=shelf.file)
    request = read_infer({}, model.classes)
    before = model.infer(photo, request).labels
    nothing = {
        k: torch.where(torch.tensor("bias" in k), v - 100, v) for k, v in model.model.network.state_dict().items()
    }
    assert shelf.publish(nothing, {"val_dice": 0.5}) == 1
    assert not model.infer(photo, request).labels.any()
    assert shelf.publish(nothing, {"val_dice": 0.6}) == 2 and shelf.current() == 2
    assert shelf.restore() == 1 and shelf.restore() == 0
    assert np.array_equal(model.infer(photo, request).labels, before)
    with pytest.raises(DataError, match="bundle's own weights"):
        shelf.restore()
    assert [each["in_use"] for each in shelf.versions()] == [False, False]


def test_scores_are_kept_until_something_changes(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in "abc"}
    for file in files.values():
        file.write_text("x")
    book, asked = ScoreBook(tmp_path / "book.json"), []

    def score(path: Path) -> float:
        asked.append(path.name)
        if path.name == "b":
            raise DisError("damaged")
        return float(ord(path.name))

    images = [(name, lambda file=file: file) for name, file in files.items()]
    assert score_images(book, images, score, "w1") == {"scored": 2, "kept": 0, "failed": 1}
    assert score_images(book, images, score, "w1") == {"scored": 0, "kept": 2, "failed": 1}
    files["a"].write_text("changed")
    assert score_images(book, images, score, "w1")["scored"] == 1
    assert score_images(book, images, score, "w2")["scored"] == 2
    assert next_image(book.read(), ["a", "b", "c"]) == "c"
    assert next_image(book.read(), ["a", "b", "new"]) == "a"
    assert next_image({}, ["z", "y"]) == "y" and next_image({}, []) is None


def test_a_doubtful_image_is_expected_to_gain_more(tiny_bundle: Path, tmp_path: Path) -> None:
    parts = Model.open(tiny_bundle, {"device": "cpu"})
    clear, dim = tmp_path / "clear.png", tmp_path / "dim.png"
    Image.fromarray(disc()).save(clear)
    Image.fromarray(np.where(disc() > 128, 150, 100).astype(np.uint8)).save(dim)
    assert expected_gain(parts, dim) > expected_gain(parts, clear) > 0


def cases(folder: Path, count: int) -> list[LabelledCase]:
    made = []
    for number in range(count):
        picture = disc(centre=(30.0 + 5 * number, 40.0), radius=15)
        image, label = folder / f"{number}.png", folder / f"{number}_label.png"
        Image.fromarray(picture).save(image)
        Image.fromarray((picture[..., 0] > 128).astype(np.uint8)).save(label)
        made.append(LabelledCase(image.name, image, label))
    return made


def test_a_case_stays_on_its_side(tmp_path: Path) -> None:
    some = [LabelledCase(f"case {n}", tmp_path, tmp_path) for n in range(40)]
    before, after = split_cases(some[:20], 0.3), split_cases(some, 0.3)
    for side, other in zip(before, reversed(after), strict=True):
        assert not {case.name for case in side} & {case.name for case in other}
    assert 5 <= len(after[1]) <= 20
    with pytest.raises(DataError, match="one case"):
        split_cases(some[:1], 0.2)


@pytest.mark.parametrize("part", ["coarse", "refine", "both"])
def test_training_mends_a_network_and_publishes_it(part: str, tiny_bundle: Path, tmp_path: Path) -> None:
    parts = Model.open(tiny_bundle, {"device": "cpu"})
    with torch.no_grad():
        for name, parameter in parts.network.named_parameters():
            if "bias" in name:
                parameter -= 6  # too dark now
    before = {key: value.clone() for key, value in parts.network.state_dict().items()}
    shelf = Shelf(tmp_path / "shelf")
    outcome = train(
        parts, cases(tmp_path, 4), Schedule(part, epochs=2, steps=15, learning_rate=0.3, val_split=0.3), shelf
    )
    assert outcome.best_dice >= outcome.in_use_dice and outcome.version == 1
    moved = {
        key.split(".")[0] for key, value in parts.network.state_dict().items() if not torch.equal(value, before[key])
    }
    assert moved == {"coarse": {"coarse"}, "refine": {"refine"}, "both": {"coarse", "refine"}}[part]
    assert [epoch.number for epoch in outcome.epochs] == [1, 2]


def test_what_is_worse_is_not_published(tiny_bundle: Path, tmp_path: Path) -> None:
    parts, every, shelf = Model.open(tiny_bundle, {"device": "cpu"}), cases(tmp_path, 4), Shelf(tmp_path / "shelf")
    assert validation_dice(parts, every) > 0.9
    outcome = train(parts, every, Schedule(epochs=1, steps=3, learning_rate=1.0, val_split=0.3), shelf)
    if outcome.best_dice < outcome.in_use_dice:
        assert outcome.version is None and not shelf.file.exists()
    else:
        pytest.fail("a learning rate of 1 should have spoiled the network")


def test_bundles_are_chosen_by_name_or_folder(tiny_bundle: Path) -> None:
    assert choose_models(str(tiny_bundle)) == {"tiny_bundle": tiny_bundle}
    assert "fundus_vessels_dis" in choose_models("")
    with pytest.raises(BundleError, match="two bundles are called"):
        choose_models(f"{tiny_bundle},{tiny_bundle}")


def test_errors_lose_the_names_of_files() -> None:
    error = strip_paths(ImageError("/data/Erika.png is damaged"), Path("/data/Erika.png"))
    assert isinstance(error, ImageError) and str(error) == "the image is damaged"


def test_logs_of_others_are_reduced_to_their_kind(capfd: pytest.CaptureFixture[str]) -> None:
    before, factory = logging.getLogger("monai_dis").level, logging.getLogRecordFactory()
    handler = logging.StreamHandler()
    logging.getLogger().addHandler(handler)
    try:
        keep_logs_discreet()
        logging.getLogger("somebody").warning("patient %s", "Erika")
        logging.getLogger("monai_dis.label").warning("answered in %.1f s", 1)
        try:
            raise ValueError("Erika")
        except ValueError:
            logging.getLogger("uvicorn.error").exception("request of Erika failed")
    finally:
        logging.getLogger().removeHandler(handler)
        logging.setLogRecordFactory(factory)
        logging.getLogger("monai_dis").setLevel(before)
    said = capfd.readouterr().err
    assert "Erika" not in said
    assert "somebody reports warning" in said and "answered in 1.0 s" in said and "ValueError" in said


def test_a_start_says_what_is_missing(tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    assert (app_folder() / "main.py").is_file()
    if importlib.util.find_spec("monailabel") is None:
        with pytest.raises(DisError, match="pip install"):
            check_serving(Serving(str(tmp_path)))
        return
    with pytest.raises(DisError, match="no folder"):
        check_serving(Serving(str(tmp_path / "missing"), (str(tiny_bundle),)))
    with pytest.raises(BundleError, match="no bundle"):
        check_serving(Serving(str(tmp_path), ("missing",)))
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(DisError, match="--port"):
            check_serving(Serving(str(tmp_path), (str(tiny_bundle),), port=taken.getsockname()[1]))


def test_the_page_shows_the_figures_that_were_measured() -> None:
    import importlib.util

    root = Path(__file__).parents[2]
    spec = importlib.util.spec_from_file_location("label_benchmark", root / "benchmarks" / "label_app.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (root / "docs" / "label.md").read_text()
    results = root / "docs" / "label_results.json"
    if results.is_file():
        assert module.figures_page(json.loads(results.read_text())) in page


def test_unknown_parameters_are_left_out_and_noted_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "monai_dis"):
        for _ in range(2):
            request = read_infer({"colour": 1, "Mustermann Erika": 2, "mode": "coarse"}, CLASSES)
    assert request == InferRequest(mode="coarse")
    assert caplog.text.count("a client sends colour") == 1 and "Erika" not in caplog.text


def test_points_of_what_is_no_class_are_refused_and_an_empty_list_is_not() -> None:
    assert read_infer({"uncertain": [], "spleen": [], "kidney": [[1, 2, 3]]}, CLASSES).points == (Point((1, 2, 3), 2),)
    with pytest.raises(
        RequestError, match="points of 'spleen', which is no class of this model; its classes are liver, kidney"
    ):
        read_infer({"spleen": [[1, 2, 3]]}, CLASSES)


def test_an_image_beyond_the_limits_is_refused_as_by_other_runs(tiny_bundle: Path, photo: Path) -> None:
    model = LabelModel(tiny_bundle, limits=Limits(volume_bytes=1000))
    with pytest.raises(ImageError, match=r"LIMIT_EXCEEDED: the header of a file of .* claims .* bytes of pixels"):
        model.infer(photo, read_infer({}, model.classes))


def test_a_network_is_warm_before_the_first_case(model: LabelModel, photo: Path) -> None:
    model.warm_up()
    assert model.infer(photo, read_infer({}, model.classes)).labels.any()


def test_a_label_that_cannot_be_used_is_left_out_of_a_training(tiny_bundle: Path, tmp_path: Path) -> None:
    parts, every = Model.open(tiny_bundle, {"device": "cpu"}), cases(tmp_path, 4)
    every[1].label.write_bytes(b"")
    Image.fromarray(np.full((80, 96), 7, np.uint8)).save(every[2].label)
    good, wrong = usable(parts, every)
    assert [case.name for case in good] == ["0.png", "3.png"]
    assert "empty" in str(wrong["1.png"]) and "holds 7" in str(wrong["2.png"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"limits": {"voxels": "3"}}, "the limit voxels=3 cannot be set"),
        ({"limits": {"frames": "many"}}, "a limit must be a whole number"),
        ({"token_file": "short.txt"}, "at least 16"),
        ({"token_file": "missing.txt"}, "cannot be read"),
        ({"certificate": "short.txt"}, "certificate .* cannot be used"),
    ],
)
def test_a_start_checks_who_may_ask(tmp_path: Path, tiny_bundle: Path, options: dict[str, Any], sentence: str) -> None:
    pytest.importorskip("monailabel")
    (tmp_path / "short.txt").write_text("secret\n")
    made = {key: tmp_path / value if isinstance(value, str) else value for key, value in options.items()}
    with pytest.raises(DisError, match=sentence):
        check_serving(Serving(str(tmp_path), (str(tiny_bundle),), **made))
