"""Which series of a study is segmented: scouts, derived and screen series are passed over by name, several that fit are listed (I11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from dicom_files import write_part10
from dicom_objects import MR_IMAGE, SECONDARY_CAPTURE, Identity, ct_series, localizer_images, mr_series
from dicom_phantom import Grid
from pydicom.dataset import Dataset

from monai_dis.checks.findings import Policy, read_policy
from monai_dis.dicom.inspection import Inspection, inspect
from monai_dis.dicom.selection import matches
from monai_dis.dicom.target import Target

SMALL = replace(Grid(), columns=30, rows=12, slices=12)
MR, CT = Target(("MR",)), Target(("CT",))


def identity(number: int, description: str, modality: str = "MR") -> Identity:
    return Identity("choice", series=number, description=description, modality=modality)


def stack(number: int, description: str, grid: Grid = SMALL) -> list[Dataset]:
    return mr_series(identity(number, description), grid)


def localizer(number: int, description: str, *, marked: bool = True) -> list[Dataset]:
    """Planes of two orientations; some vendors do not say in ImageType what they are for."""
    images = localizer_images(identity(number, description))
    for image in images:
        image.SOPClassUID = MR_IMAGE
        if not marked:
            image.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    return images


def typed(series: list[Dataset], *image_type: str) -> list[Dataset]:
    for image in series:
        image.ImageType = list(image_type)
    return series


def captures(number: int) -> list[Dataset]:
    series = stack(number, "Screen", replace(SMALL, slices=3))
    for image in series:
        image.SOPClassUID = SECONDARY_CAPTURE
    return series


def found_in(folder: Path, series: Sequence[Sequence[Dataset]], target: Target = MR, **selection: str) -> Inspection:
    for number, images in enumerate(series):
        for index, image in enumerate(images):
            write_part10(folder / f"{number}-{index:03d}", image)
    with inspect(folder, target, selection=selection) as found:
        return found


def few() -> list[Dataset]:
    return typed(stack(1, "Scout", replace(SMALL, slices=3)), "ORIGINAL", "PRIMARY", "LOCALIZER")


@pytest.mark.parametrize(
    ("other", "why"),
    [
        pytest.param(localizer(1, "loc"), "'loc' (localizer)", id="localizer"),
        pytest.param(localizer(1, "Survey", marked=False), "'Survey' (localizer)", id="localizer-by-its-description"),
        pytest.param(
            localizer(1, "x", marked=False), "'x' (several orientations)", id="planes-of-several-orientations"
        ),
        pytest.param(few(), "'Scout' (localizer)", id="parallel-scouts"),
        pytest.param(typed(stack(1, "ADC"), "DERIVED", "PRIMARY", "ADC"), "'ADC' (derived)", id="derived"),
        pytest.param(captures(1), "'Screen' (screen capture)", id="captures"),
        pytest.param(stack(1, "One", replace(SMALL, slices=1)), "'One' (single slice)", id="single-slice"),
        pytest.param(ct_series(identity(1, "Low dose", "CT"), SMALL), "'Low dose' (CT)", id="other-modality"),
    ],
)
def test_the_one_stack_that_can_be_segmented_is_used(other: list[Dataset], why: str, tmp_path: Path) -> None:
    found = found_in(tmp_path, [other, stack(2, "T1 tra")])
    assert found.verdict is Policy.FIX, found.findings
    (chosen,) = (each for each in found.findings if each.code == "SERIES_SELECTED")
    assert "number 2 'T1 tra', MR, axial, 12 slices" in chosen.message
    assert f"passed over: number 1 {why}" in chosen.message
    assert found.volumes[0].shape == (30, 12, 12)


def test_derived_series_are_used_where_there_is_nothing_else(tmp_path: Path) -> None:
    reformat = typed(stack(2, "MPR cor"), "DERIVED", "SECONDARY", "REFORMATTED")
    assert found_in(tmp_path, [localizer(1, "loc"), reformat]).volumes


def test_several_that_fit_are_listed_with_what_selects_each(tmp_path: Path) -> None:
    sagittal = replace(SMALL, row_direction=(0.0, 1.0, 0.0), column_direction=(0.0, 0.0, -1.0), step=(3.0, 0.0, 0.0))
    study = [localizer(1, "loc"), stack(2, "T1 tra"), stack(3, "T2 sag", sagittal)]
    (ambiguous,) = found_in(tmp_path, study).findings
    assert ambiguous.code == "SERIES_AMBIGUOUS"
    for words in (
        "number 2 'T1 tra', MR, axial, 12 slices, 2 x 2 x 3 mm: --select SeriesNumber=2",
        "number 3 'T2 sag', MR, sagittal, 12 slices, 2 x 2 x 3 mm: --select SeriesNumber=3",
        "passed over: number 1 'loc' (localizer)",
    ):
        assert words in ambiguous.message


def test_series_of_one_number_are_told_apart_by_their_uid(tmp_path: Path) -> None:
    twins = [stack(2, "T1"), stack(3, "T1")]
    for image in twins[1]:
        image.SeriesNumber = "2"
    (ambiguous,) = found_in(tmp_path, twins).findings
    uid = str(twins[1][0].SeriesInstanceUID)
    assert f"--select SeriesInstanceUID={uid}" in ambiguous.message
    assert found_in(tmp_path / "again", twins, SeriesInstanceUID=uid).volumes


@pytest.mark.parametrize(
    ("selection", "number"),
    [
        ({"SeriesNumber": "3"}, 3),
        ({"SeriesDescription": "T2 [tra]"}, 3),
        ({"SeriesDescription": "t2*"}, 3),
        ({"SeriesDescription": "T? sag", "SeriesNumber": "2"}, 2),
        ({"ProtocolName": "spine*"}, 3),
        ({"SeriesDescription": "T9*"}, None),
    ],
)
def test_series_are_selected_by_what_they_are_called(
    selection: dict[str, str], number: int | None, tmp_path: Path
) -> None:
    series = [stack(2, "T1 sag"), stack(3, "T2 [tra]")]
    for image in series[1]:
        image.ProtocolName = "Spine routine"
    found = found_in(tmp_path, series, **selection)
    assert [each.number for each in found.series] == ([] if number is None else [number])
    if number is None:
        (empty,) = found.findings
        assert (empty.code, empty.policy) == ("SELECTION_EMPTY", Policy.REJECT)
        assert "none of 2 series is selected by SeriesDescription" in empty.message
        assert "number 2 'T1 sag'" in empty.message
    else:
        assert found.verdict is Policy.ACCEPT


def test_words_of_persons_are_left_out_of_descriptions(tmp_path: Path) -> None:
    series = [stack(2, "T1 CANARYNAME 12345678"), stack(3, "T2 alpha")]
    (ambiguous,) = found_in(tmp_path, series).findings
    assert "number 2 'T1 ... ...'" in ambiguous.message
    assert "number 3 'T2 ...'" in ambiguous.message
    assert "canary" not in ambiguous.message.lower()


def test_a_modality_that_a_site_lets_pass_can_be_chosen(tmp_path: Path) -> None:
    found_in(tmp_path, [localizer(1, "loc"), stack(2, "T1 tra")])
    with inspect(tmp_path, CT, policies=read_policy({"MODALITY_MISMATCH": "warn"})) as found:
        assert found.verdict is Policy.WARN
        assert found.volumes


@pytest.mark.parametrize(
    ("value", "wanted", "same"),
    [
        ("80", "80.0", True),
        ("80", "8", False),
        ("T2 tra", "t2 TRA", True),
        ("T2 tra", "T2", False),
        ("T2 (a.b)", "T2 (a.b)", True),
        ("T2 axb", "T2 a.b", False),
        ("anything", "*", True),
        ("", "*", True),
        ("", "?", False),
    ],
)
def test_what_a_value_is_compared_with(value: str, wanted: str, same: bool) -> None:
    assert matches(value, wanted) is same
