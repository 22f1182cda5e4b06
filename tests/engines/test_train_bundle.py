"""Training says what it did: nothing is done without a batch, nothing is kept that was made from something else."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle.scripts import run as run_bundle
from small_recipe import write_bright_cases, write_small_recipe

from monai_dis.engines import OneCycle, cases_per_batch
from monai_dis.engines.checkpoint import latest_checkpoint
from monai_dis.engines.train import train_bundle
from monai_dis.errors import BundleError, DataError, DisError, OutputError

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_small_recipe(tmp_path / "bundle")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_bright_cases(tmp_path / "data", 7)


def train(bundle: Path, data: Path, output: Path, *, overwrite: bool = False, **overrides: Any) -> Path:
    return train_bundle(bundle, data_dir=data, output_dir=output, overrides=overrides, overwrite=overwrite)


def stamps(output: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (output / "work").glob("*.pt")}


def test_a_finished_training_is_kept(bundle: Path, data: Path, tmp_path: Path) -> None:
    first = train(bundle, data, tmp_path / "out").read_bytes()
    made = stamps(tmp_path / "out")
    assert set(made) == {"coarse_fold0.pt", "refine.pt"}
    moved = tmp_path / "elsewhere"
    shutil.copytree(data, moved)  # the same cases in another place are the same
    assert train(bundle, moved, tmp_path / "out").read_bytes() == first
    assert stamps(tmp_path / "out") == made


CHANGES = {
    "other data": ("other data", {}),
    "another label": ("other data", {}),
    "another bundle": ("holds another bundle", {}),
    "an edited config": ("another bundle, or another config of it", {}),
    "other settings": ("batch_size the config's own instead of 3", {"batch_size": 3}),
    "more epochs, finished": ("epochs the config's own instead of 3", {"epochs": 3}),
    "mapped labels": ("label_map the config's own instead of", {"label_map": {1: 1}}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_of_another_training_is_refused_or_starts_anew(
    change: str, bundle: Path, data: Path, tmp_path: Path
) -> None:
    output, (sentence, overrides) = tmp_path / "out", CHANGES[change]
    train(bundle, data, output)
    before, content = stamps(output), {p.name: p.read_bytes() for p in (output / "work").glob("*.pt")}
    if change == "other data":
        write_bright_cases(data, 7, seed=1)
    if change == "another label":
        label = data / "masks" / "case0.png"
        shutil.copyfile(write_bright_cases(tmp_path / "empty", 1, value=0, val=0) / "masks" / "case0.png", label)
    if change == "another bundle":
        (bundle / "configs" / "coarse.yaml").write_text("seed: 7\n")
    if change == "an edited config":
        (output / "configs" / "coarse.yaml").write_text("seed: 7\n")
        bundle = output
    with pytest.raises(OutputError, match=f"(?s){sentence}.*start anew with --overwrite"):
        train(bundle, data, output, **overrides)
    assert stamps(output) == before, "nothing runs before the refusal"
    train(bundle, data, output, overwrite=True, **overrides)
    after = {p.name: p.read_bytes() for p in (output / "work").glob("*.pt")}
    assert after.keys() == content.keys()
    assert (after == content) == (change == "mapped labels")  # to the classes that they are anyway


def test_a_work_folder_that_does_not_say_what_it_was_made_from(bundle: Path, data: Path, tmp_path: Path) -> None:
    train(bundle, data, tmp_path / "out")
    for record in (tmp_path / "out" / "work").glob("*.stage.json"):
        record.unlink()
    with pytest.raises(OutputError, match="do not say what they were made from"):
        train(bundle, data, tmp_path / "out")


def test_overwrite_removes_nothing_but_a_training(bundle: Path, data: Path, tmp_path: Path) -> None:
    own = tmp_path / "out" / "docs" / "own.txt"  # of somebody's project
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    train(bundle, data, tmp_path / "out", overwrite=True)
    assert own.read_text() == "mine"
    shipped = write_small_recipe(tmp_path / "shipped")
    with pytest.raises(OutputError, match="holds a bundle that was not trained there"):
        train(bundle, data, shipped, overwrite=True)
    train(shipped, data, shipped)  # in its own folder
    train(shipped, data, shipped, overwrite=True)
    assert (shipped / "configs" / "train.yaml").is_file() and (shipped / "models" / "model.pt").is_file()


def test_a_stage_after_one_that_is_made_again_is_made_again(bundle: Path, data: Path, tmp_path: Path) -> None:
    train(bundle, data, tmp_path / "out")
    made = stamps(tmp_path / "out")
    (tmp_path / "out" / "work" / "coarse_fold0.pt").unlink()
    train(bundle, data, tmp_path / "out")
    assert stamps(tmp_path / "out")["refine.pt"] > made["refine.pt"]


def test_weights_without_the_end_of_their_stage_are_not_taken_for_it(bundle: Path, data: Path, tmp_path: Path) -> None:
    train(bundle, data, tmp_path / "out")
    record = tmp_path / "out" / "work" / "refine.stage.json"  # killed between the weights and the maps
    record.write_text(json.dumps({**json.loads(record.read_text()), "finished": False}))
    made = stamps(tmp_path / "out")
    train(bundle, data, tmp_path / "out")
    assert stamps(tmp_path / "out")["refine.pt"] > made["refine.pt"]
    assert json.loads(record.read_text())["finished"]


@pytest.mark.parametrize("key", ["lerning_rate", "network::nothing", "stages_"])
def test_an_entry_that_the_recipe_does_not_have_is_refused(key: str, bundle: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"has no entry '{key.split('::')[0]}' to override"):
        train_bundle(bundle, data_dir=data, output_dir=tmp_path / "out", overrides={key: 5})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("cases", "overrides", "sentence"),
    [
        pytest.param(1, {}, r"there is 1 training case in folder .* in 3 folds needs 3; label 2 more", id="one-case"),
        pytest.param(2, {}, r"there are 2 training cases in folder .* needs 3; label 1 more", id="two-cases"),
        pytest.param(
            3,
            {"batch_size": 4},
            r"stage coarse_fold0: there are 2 cases to train on and a batch takes 4",
            id="no-batch",
        ),
        pytest.param(6, {"epochs": 0}, "stage coarse_fold0: epochs is 0; .* 1 or more", id="no-epoch"),
        pytest.param(6, {"epochs": 1.5}, "epochs is 1.5; .* whole number", id="half-an-epoch"),
        pytest.param(6, {"steps_per_epoch": 0}, "steps_per_epoch is 0; .* 1 or more", id="no-step"),
        pytest.param(6, {"batch_size": 0}, "batch_size is 0", id="empty-batch"),
        pytest.param(6, {"label_map": {1: 2}}, "makes 1 class 2, and the classes are 0 to 1", id="map"),
    ],
)
def test_what_cannot_train_is_an_error(
    cases: int, overrides: dict[str, Any], sentence: str, bundle: Path, tmp_path: Path
) -> None:
    data = write_bright_cases(tmp_path / "few", cases + 1)
    with pytest.raises(DataError, match=sentence):
        train(bundle, data, tmp_path / "out", **overrides)
    assert not (tmp_path / "out" / "models" / "model.pt").exists()
    assert not list((tmp_path / "out").glob("work/*.pt"))
    if cases == 6:  # what is put right trains in the same folder
        assert train(bundle, data, tmp_path / "out").is_file()


def test_unknown_labels_stop_before_the_first_stage(bundle: Path, tmp_path: Path) -> None:
    data = write_bright_cases(tmp_path / "data63", 7, value=63)
    with pytest.raises(DataError, match=r"63 in 7 files .*--labels 63=1"):
        train(bundle, data, tmp_path / "out")
    assert not (tmp_path / "out" / "work").exists()
    train(bundle, data, tmp_path / "out", label_map={63: 1})


def interrupted(bundle: Path, data: Path, output: Path, epochs: int) -> Path:
    """A training that was cut off in its first stage after so many epochs; returns the folder of its checkpoints."""
    train(bundle, data, output, epochs=epochs)
    work = output / "work"
    record = work / "coarse_fold0.stage.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "finished": False}))
    for left in ("refine.pt", "refine.stage.json", "coarse_fold0.pt"):
        (work / left).unlink()
    shutil.rmtree(work / "refine")
    return work / "coarse_fold0"


@pytest.mark.parametrize("damage", [b"", b"PK", None])
def test_the_newest_whole_checkpoint_is_used(
    damage: bytes | None, bundle: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage = interrupted(bundle, data, tmp_path / "out", 3)
    last = stage / "checkpoint_epoch=3.pt"
    last.write_bytes(last.read_bytes()[:-200] if damage is None else damage)
    with caplog.at_level(logging.WARNING):
        assert latest_checkpoint(stage) == stage / "checkpoint_epoch=2.pt"
        train(bundle, data, tmp_path / "out", epochs=3)
    assert "checkpoint_epoch=3.pt is broken" in caplog.text
    assert latest_checkpoint(stage) == last


def test_no_whole_checkpoint_begins_anew(bundle: Path, data: Path, tmp_path: Path) -> None:
    stage = interrupted(bundle, data, tmp_path / "out", 2)
    for file in stage.glob("checkpoint*.pt"):
        file.write_bytes(b"")
    assert train(bundle, data, tmp_path / "out", epochs=2).is_file()


def test_a_longer_training_resumes_on_its_own_schedule(bundle: Path, data: Path, tmp_path: Path) -> None:
    stage = interrupted(bundle, data, tmp_path / "out", 2)
    train(bundle, data, tmp_path / "out", epochs=5)
    content = torch.load(stage / "checkpoint_epoch=5.pt", weights_only=True)
    assert (content["schedule"]["total_steps"], content["schedule"]["last_epoch"]) == (10, 10)
    assert content["trainer"]["iteration"] == 10


def test_a_shorter_training_is_refused(bundle: Path, data: Path, tmp_path: Path) -> None:
    interrupted(bundle, data, tmp_path / "out", 3)
    with pytest.raises(DataError, match="training of 3 epochs already, and 2 are asked for; ask for 3 or more"):
        train(bundle, data, tmp_path / "out", epochs=2)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param({"steps_per_epoch": 3}, "2 steps in an epoch, and 3 are asked for", id="steps"),
        pytest.param({"network_def::kernel_size": 3}, "does not fit the networks of the config", id="network"),
    ],
)
def test_a_stage_that_is_run_alone_does_not_go_on_from_another(
    change: dict[str, Any], sentence: str, bundle: Path, data: Path, tmp_path: Path
) -> None:
    files = [str(bundle / "configs" / f"{name}.yaml") for name in ("stage", "coarse")]
    alone = {"config_file": files, "data_dir": str(data), "work_dir": str(tmp_path / "work"), "stage_name": "coarse"}
    run_bundle(**alone)
    with pytest.raises((DisError, RuntimeError)) as error:
        run_bundle(**alone, epochs=4, **change)
    from monai_dis.engines.recipe import own_error

    assert sentence in str(own_error(error.value))


def test_the_schedule_of_another_length_goes_on_at_the_same_step() -> None:
    def schedule(epochs: int) -> OneCycle:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)
        return OneCycle(optimizer, 0.1, epochs, 10)

    short, long, reference = schedule(2), schedule(4), schedule(4)
    for each in (short, reference):
        for _ in range(15):
            each.optimizer.step()
            each.step()
    long.load_state_dict(short.state_dict())
    assert long.get_last_lr() == reference.get_last_lr() != short.get_last_lr()
    for _ in range(25):  # PyTorch's own would end at step 20
        long.optimizer.step()
        long.step()
    assert long.last_epoch == 40


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11])
def test_a_schedule_of_few_steps(steps: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)
    schedule = OneCycle(optimizer, 0.1, 1, steps, pct_start=0.1)
    for _ in range(steps):
        optimizer.step()
        schedule.step()
    assert schedule.get_last_lr()[0] <= 0.1


def test_cases_in_a_batch() -> None:
    assert cases_per_batch(9, 2) == 4
    with pytest.raises(DataError, match="batch_size is 1, and 2 windows are drawn from each case; make it 2 or more"):
        cases_per_batch(1, 2)
