"""A damaged file beside a series: if it is one of its slices the series is incomplete, and if it is no image it harms nothing (I21)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from dicom_files import write_part10, write_zip
from dicom_objects import BASIC_TEXT_SR, Identity, base_dataset, ct_series
from dicom_phantom import Grid

from monai_dis.checks.findings import Policy, read_policy
from monai_dis.dicom.inspection import inspect
from monai_dis.dicom.target import Target

SMALL = replace(Grid(), columns=30, rows=12, slices=12)
CT = Target(("CT",))
Change = Callable[[bytes], bytes]


def behind_meta(content: bytes) -> int:
    return 132 + 12 + int(struct.unpack_from("<I", content, 140)[0])


DAMAGES: dict[str, Change] = {
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "cut before the prefix": lambda content: content[:60],
    "cut in the meta information": lambda content: content[:200],
    "cut in the header": lambda content: content[: behind_meta(content) + 500],
    "cut before the pixels": lambda content: content[: content.rindex(b"\xe0\x7f\x10\x00OW")],
    "cut in the pixels": lambda content: content[:-100],
    "other bytes in the header": lambda content: content.replace(b"\x28\x00\x10\x00US", b"\xff" * 6),
}
LOSSLESS: dict[str, Change] = {
    "without preamble": lambda content: content[132:],
    "prefix without preamble": lambda content: content[128:],
    "without meta information": lambda content: content[behind_meta(content) :],
}


def series(folder: Path, name: str = "IM{:04d}", case: str = "damage", number: int = 1) -> list[Path]:
    paths = []
    for index, data in enumerate(ct_series(Identity(case, series=number), SMALL)):
        paths.append(folder / name.format(index))
        write_part10(paths[-1], data)
    return paths


@pytest.mark.parametrize("place", [0, 5, 11])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_slice_makes_the_series_incomplete(damage: str, place: int, tmp_path: Path) -> None:
    path = series(tmp_path)[place]
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with inspect(tmp_path, CT) as found:
        assert found.verdict is Policy.REJECT, found.findings
        assert not found.volumes
        rejected = {each.code for each in found.findings if each.policy is Policy.REJECT}
        assert "SERIES_INCOMPLETE" in rejected or damage == "cut before the pixels"


@pytest.mark.parametrize("damage", LOSSLESS)
def test_a_slice_that_lacks_a_preamble_alone_is_read(damage: str, tmp_path: Path) -> None:
    path = series(tmp_path)[11]
    path.write_bytes(LOSSLESS[damage](path.read_bytes()))
    with inspect(tmp_path, CT) as found:
        assert [each.code for each in found.findings] == ["FILE_NO_HEADER"]
        assert found.volumes[0].shape == (30, 12, 12)


def test_a_site_may_let_an_incomplete_series_pass(tmp_path: Path) -> None:
    path = series(tmp_path)[11]
    path.write_bytes(path.read_bytes()[:-100])
    with inspect(tmp_path, CT, policies=read_policy({"SERIES_INCOMPLETE": "warn"})) as found:
        assert {each.code: each.policy for each in found.findings} == {
            "FILE_TRUNCATED": Policy.WARN,
            "SERIES_INCOMPLETE": Policy.WARN,
        }
        assert found.volumes[0].shape == (30, 12, 11)


def test_a_damaged_object_that_is_no_image_harms_nothing(tmp_path: Path) -> None:
    series(tmp_path)
    report = base_dataset(Identity("damage", series=9, modality="SR"), BASIC_TEXT_SR, 1)
    report.TextValue = "x" * 300
    write_part10(tmp_path / "IM0012", report)
    (tmp_path / "IM0012").write_bytes((tmp_path / "IM0012").read_bytes()[:-100])
    with inspect(tmp_path, CT) as found:
        assert [(each.code, each.policy) for each in found.findings] == [("OBJECT_DAMAGED", Policy.WARN)]
        assert found.volumes[0].shape == (30, 12, 12)


@pytest.mark.parametrize(
    ("name", "stray", "belongs"),
    [
        pytest.param("IM{:04d}", "IM0099", True, id="counted"),
        pytest.param("IM{:04d}", "VERSION", False, id="another-name"),
        pytest.param("slice {}.dcm", "slice 3.txt", False, id="another-kind"),
        pytest.param("1.2.840.{}.dcm", "1.2.840.77.dcm", True, id="uids"),
        pytest.param("{:04x}c0de-77aa-4b1e-9f00-0123456789ab", "ffffc0de-1111-4b1e-9f00-0123456789ab", True, id="keys"),
        pytest.param("a/{}", "b/3", False, id="another-folder"),
    ],
)
def test_a_file_without_a_header_belongs_to_its_neighbours_by_name(
    name: str, stray: str, belongs: bool, tmp_path: Path
) -> None:
    for path in series(tmp_path / "in", name):
        assert path.exists()
    (tmp_path / "in" / stray).parent.mkdir(exist_ok=True)
    (tmp_path / "in" / stray).write_bytes(b"")
    files = sorted(path for path in (tmp_path / "in").rglob("*") if path.is_file())
    entries = [(str(path.relative_to(tmp_path)), path.read_bytes()) for path in files]
    write_zip(tmp_path / "in.zip", entries)
    for given in (tmp_path / "in", tmp_path / "in.zip"):
        with inspect(given, CT) as found:
            assert ("SERIES_INCOMPLETE" in {each.code for each in found.findings}) is belongs, found.findings
            assert bool(found.volumes) is not belongs


def test_damage_to_another_series_does_not_keep_the_chosen_one(tmp_path: Path) -> None:
    series(tmp_path, "A{}", number=1)
    other = series(tmp_path, "B{}", number=2)[3]
    other.write_bytes(other.read_bytes()[:-100])
    with inspect(tmp_path, CT) as found:
        assert {"SERIES_AMBIGUOUS", "FILE_TRUNCATED"} <= {each.code for each in found.findings}
    with inspect(tmp_path, CT, selection={"SeriesNumber": "1"}) as found:
        assert found.verdict is Policy.ACCEPT
    with inspect(tmp_path, CT, selection={"SeriesNumber": "2"}) as found:
        assert found.verdict is Policy.REJECT


def test_a_series_of_which_nothing_can_be_read_is_not_forgotten(tmp_path: Path) -> None:
    series(tmp_path, "A{}", number=1)
    for path in series(tmp_path, "B{}", number=2):
        path.write_bytes(path.read_bytes()[:-100])
    with inspect(tmp_path, CT) as found:
        assert found.verdict is Policy.REJECT
    with inspect(tmp_path, CT, selection={"SeriesNumber": "1"}) as found:
        assert found.verdict is Policy.WARN
