"""One budget for many studies: sharing it by hand, and a real cohort that spends it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_bundle import disc

from monai_dis.cohort import StudySegmenter, UnitSettings, find_cohort
from monai_dis.cohort.shared_budget import shares_of
from monai_dis.cohort.survey import Survey, keep_answers, kept_answers
from monai_dis.errors import BudgetError, BundleError


def survey(*gains: float, toll: int = 0) -> Survey:
    return Survey(gains, gains, window=10, paid=5 + toll, toll=toll, full_pass=100.0)


def test_of_equal_gains_the_higher_score_goes_first() -> None:
    # The curve of expected gain is flat there; a second window is left with what the first does not cover.
    one = Survey((5, 5), (0.9, 0.1), window=10, paid=5, toll=0, full_pass=100.0)
    other = Survey((5, 5), (0.8, 0.7), window=10, paid=5, toll=0, full_pass=100.0)
    assert shares_of({"a": [one], "b": [other]}, 0.15) == {"a": (0.1,), "b": (0.1,)}
    assert shares_of({"a": [one], "b": [other]}, 0.2) == {"a": (0.1,), "b": (0.2,)}


def test_what_is_expected_to_lose_is_not_bought() -> None:
    assert shares_of({"a": [survey(2, -1)], "b": [survey(-1)]}, 1.0) == {"a": (0.1,), "b": (0.0,)}


@pytest.mark.parametrize(
    ("share", "wanted"),
    [
        (0.05, {"a": (0.0,), "b": (0.0,)}),  # ten for the coarse passes
        (0.10, {"a": (0.1,), "b": (0.0,)}),
        (0.15, {"a": (0.1,), "b": (0.1,)}),  # 5, then 4
        (0.25, {"a": (0.2,), "b": (0.2,)}),  # then 3 (a) and 3 (b): of equal ones the first
        (0.30, {"a": (0.2,), "b": (0.3,)}),
        (1.00, {"a": (0.3,), "b": (0.3,)}),  # there are no more
    ],
)
def test_by_hand(share: float, wanted: dict[str, tuple[float, ...]]) -> None:
    assert shares_of({"a": [survey(5, 3, 1)], "b": [survey(4, 3, 2)]}, share) == wanted


def test_scoring_is_paid_again_by_the_images_that_are_refined() -> None:
    shares = shares_of({"a": [survey(5, 4, toll=2)], "b": [survey(1, toll=2)]}, 0.18)
    assert shares == {"a": (0.22,), "b": (0.0,)}  # 36 less 14 paid: a window, another, and the toll once


def test_a_study_of_several_images_and_one_of_none() -> None:
    assert shares_of({"a": [survey(1), survey(9)], "b": []}, 0.1) == {"a": (0.0, 0.1), "b": ()}


@pytest.mark.parametrize(
    ("share", "words"), [(-0.1, "0 or more"), (float("nan"), "0 or more"), (0.04, "coarse passes")]
)
def test_what_cannot_be_spent_is_refused(share: float, words: str) -> None:
    with pytest.raises(BudgetError, match=words):
        shares_of({"a": [survey(1.0)]}, share)


@given(
    gains=st.lists(
        st.lists(st.floats(0, 1), max_size=8).map(lambda g: sorted(g, reverse=True)), min_size=1, max_size=6
    ),
    share=st.floats(0.05, 1),
)
def test_it_is_never_overspent_and_more_is_never_less(gains: list[list[float]], share: float) -> None:
    surveys = {str(n): [survey(*each)] for n, each in enumerate(gains)}
    less, more = shares_of(surveys, share), shares_of(surveys, min(1.0, 2 * share))
    for given_, shares in ((share, less), (min(1.0, 2 * share), more)):
        assert sum(5 + 100 * each for (each,) in shares.values()) <= given_ * 100 * len(gains) + 1e-6
    assert all(more[name][0] >= less[name][0] for name in surveys)


def test_kept_answers_come_back(tmp_path: Path) -> None:
    import torch

    answers = [[torch.randn(1, 2, 3), torch.randn(2, 2, 3)], [], [torch.randn(1, 1, 4, 4)]]
    keep_answers(tmp_path / "a.npz", answers)
    found = kept_answers(tmp_path / "a.npz")
    assert [len(run) for run in found] == [2, 0, 1]
    assert all(torch.equal(a, b) for x, y in zip(answers, found, strict=True) for a, b in zip(x, y, strict=True))


@pytest.fixture
def unit(deadly_bundle: Path) -> StudySegmenter:
    return StudySegmenter(UnitSettings(str(deadly_bundle), {"device": "cpu"}, threads=1))


@pytest.mark.parametrize("dense", ["8", "{scale: 8, roi_size: [16, 16]}"], ids=["one pass", "windows"])
def test_refining_after_a_survey_is_refining_at_once(dense: str, tmp_path: Path, deadly_bundle: Path) -> None:
    """The answer for a share is that of the same windows in one run, and the coarse pass is not computed again."""
    bundle = tmp_path / "bundle"
    shutil.copytree(deadly_bundle, bundle)
    config = bundle / "configs" / "inference.yaml"
    config.write_text(config.read_text().replace("levels: [8, 1]", f"levels: [{dense}, 1]\n  mode: gaussian"))
    unit = StudySegmenter(UnitSettings(str(bundle), {"device": "cpu"}, threads=1))
    Image.fromarray(disc()).save(tmp_path / "photo.png")
    [study] = find_cohort([tmp_path / "photo.png"])
    [found] = unit.survey(study, tmp_path / "out")
    assert len(found.gains) == 16 and list(found.gains) == sorted(found.gains, reverse=True)
    assert unit.survey(study, tmp_path / "out") == (found,)  # read, not computed
    record = unit(study, tmp_path / "out", (3 * found.window / found.full_pass,))
    assert record.operations == 3 * found.window
    at_once = StudySegmenter(UnitSettings(str(bundle), {"device": "cpu", "windows": 3}))(study, tmp_path / "once")
    assert at_once.operations == 3 * found.window + found.paid
    files = [Path(each.outputs["output"]).read_bytes() for each in (record, at_once)]
    assert files[0] == files[1]
    assert not list((tmp_path / "out" / "coarse_answers").glob("*.npz"))


def test_what_cannot_be_segmented_has_no_survey_and_says_why_later(unit: StudySegmenter, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    [study] = find_cohort([tmp_path / "bad.png"])
    assert unit.survey(study, tmp_path / "out") == ()
    assert unit(study, tmp_path / "out").status == "refused"


def test_other_modes_have_no_windows_to_share(deadly_bundle: Path, tmp_path: Path) -> None:
    Image.fromarray(disc()).save(tmp_path / "photo.png")
    plain = StudySegmenter(UnitSettings(str(deadly_bundle), {"device": "cpu", "mode": "coarse"}))
    with pytest.raises(BundleError, match="mode dis"):
        plain.survey(find_cohort([tmp_path / "photo.png"])[0], tmp_path / "out")


@pytest.mark.slow
def test_a_cohort_spends_it_where_it_is_uncertain(deadly_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    from command_line import call

    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(disc(radius=4)).save(folder / "little.png")
    rng = np.random.default_rng(0)
    grey = np.repeat(rng.integers(110, 146, (80, 96, 1)), 3, axis=2).astype(np.uint8)
    Image.fromarray(grey).save(folder / "doubtful.png")
    out = tmp_path / "out"
    arguments = ("segment", folder, "-b", deadly_bundle, "-o", out, "--device", "cpu", "--cohort-operations", "0.3")
    assert call(*arguments) == 0
    records = {
        json.loads(line)["study"]: json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()
    }
    assert records["doubtful"]["operations"] > 4 * records["little"]["operations"]
    assert call(*arguments) == 0
    assert len((out / "manifest.jsonl").read_text().splitlines()) == 2  # nothing is done twice
    assert call(*arguments, "--windows", "3") == 2
