"""Twins: one table of inputs, good, odd and bad, through every way to run; each gives the same files or the same sentence.

A new kind of study joins by adding rows. All rows lie in one tree, which each way segments whole into a folder of its own.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from slide_files import spots, write_tiff
from small_bundle import disc, write_tiny_bundle

from monai_dis.bundle import load_bundle
from monai_dis.errors import DisError
from monai_dis.pipeline import Ledger, Options, Record, RunSettings, StudySegmenter, find_studies
from monai_dis.printable import printable

pytestmark = pytest.mark.slow
pytest.importorskip("distributed")
pytest.importorskip("highdicom")

LIMITS = {"file_bytes": "300000"}


@dataclass(frozen=True)
class Row:
    """An input.

    Attributes:
        name: of its folder in the tree.
        make: writes it there.
        status: of its studies, by the end of their places; or of all.
        words: in the reason or findings of one of them.
    """

    name: str
    make: Callable[[Path], Any]
    status: str
    words: str = ""


def picture(name: str, column: float = 60.0) -> Callable[[Path], None]:
    return lambda folder: Image.fromarray(disc(centre=(column, 30.0))).save(folder / name)


def twins(folder: Path) -> None:
    for number, column in enumerate((20.0, 70.0)):
        file = folder / f"p{number}" / "image.bmp"
        file.parent.mkdir()
        picture("image.bmp", column)(file.parent)
        os.utime(file, (1_700_000_000, 1_700_000_000))


def bad_bytes(folder: Path) -> None:
    picture("a.png")(folder)
    (folder / "a.png").rename(folder / os.fsdecode(b"caf\xe9.png"))


def turned(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(disc()).save(folder / "turned.jpg", exif=exif, quality=95)


def deep_planes(folder: Path) -> None:
    planes = np.moveaxis(disc(), -1, 0).astype(np.uint16) * 257
    tifffile.imwrite(folder / "p.tif", planes, photometric="rgb", planarconfig="separate")


def own_answers(folder: Path) -> None:
    """An image beside a label that somebody drew, which is no answer of ours."""
    picture("patient1.png")(folder)
    Image.fromarray(np.zeros((80, 96, 3), np.uint8)).save(folder / "patient1_seg.png")


PICTURES = [
    Row("good", picture("good.png"), "done"),
    Row("twins", twins, "done"),
    Row("drawn label", own_answers, "done"),
    Row("odd names", lambda f: [picture(n)(f) for n in ("a #1 50%?.png", "'q\" ü.png", f"{'m' * 240}.png")], "done"),
    Row("bytes", bad_bytes, "done"),
    Row("bad bytes", lambda f: (f / os.fsdecode(b"caf\xe9.png")).write_bytes(b"no picture"), "refused", "caf\\udce9.png"),
    Row("turned", turned, "done", "PICTURE_TURNED"),
    Row("deep planes", deep_planes, "done"),
    Row("slide", lambda f: write_tiff(f / "kidney.svs", spots(700, 600)), "done"),
    Row("grey", lambda f: Image.fromarray(np.zeros((64, 64), np.uint8)).save(f / "grey.png"), "refused", "has 1 channel"),
    Row("cut", lambda f: (f / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n"), "refused", "cut.png"),
    Row("empty", lambda f: (f / "empty.png").touch(), "refused", "empty (0 bytes)"),
    Row("link", lambda f: (f / "gone.png").symlink_to("/nowhere/gone.png"), "refused", "is a link to /nowhere/gone.png"),
    Row("no slide", lambda f: (f / "bad.svs").write_bytes(b"no slide"), "refused", "bad.svs"),
    Row("too large", lambda f: Image.fromarray(np.zeros((400, 400, 3), np.uint8)).save(f / "large.bmp"), "refused", "LIMIT_EXCEEDED"),
]  # fmt: skip

AFFINE = np.diag([-1.0, -1.0, 1.5, 1.0])


def volume(kind: Any = np.int16) -> np.ndarray:
    values = np.zeros((32, 24, 16), kind)
    values[4:12, 4:14, 4:10] = 128
    return values


def nifti(name: str, affine: np.ndarray = AFFINE, kind: Any = np.int16) -> Callable[[Path], None]:
    return lambda folder: nib.save(nib.Nifti1Image(volume(kind), affine), folder / name)


def sform_alone(pixdim: float) -> Callable[[Path], None]:
    """An sform and no qform, voxels of 1 mm, and what pixdim says of them."""

    def write(folder: Path) -> None:
        image = nib.Nifti1Image(volume(), None)
        image.header.set_zooms((pixdim, pixdim, 1.5))
        image.set_sform(AFFINE, code=2)
        image.set_qform(None, code=0)
        image.to_filename(folder / "sform.nii")

    return write


def wrong_name(folder: Path) -> None:
    nifti("a.nii")(folder)
    (folder / "b.nii").write_bytes(gzip.compress((folder / "a.nii").read_bytes()))
    (folder / "a.nii").unlink()


def nrrd(units: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        head = (
            "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 32 24 16\n"
            "space directions: (1,0,0) (0,1,0) (0,0,1.5)\nkinds: domain domain domain\nendian: little\nencoding: raw\n"
            f"space units: {' '.join([f'{chr(34)}{units}{chr(34)}'] * 3)}\nspace origin: (0,0,0)\n\n"
        )
        (folder / "scan.nrrd").write_bytes(head.encode() + volume().transpose(2, 1, 0).tobytes())

    return write


def study(patient: str, body_part: str = "", missing: int | None = None) -> Callable[[Path], Path]:
    from dicom_objects import Identity, ct_series
    from dicom_phantom import Grid, phantom
    from dicom_study import save_shuffled

    def write(folder: Path) -> Path:
        grid = replace(Grid(), columns=28, rows=16, slices=17)
        series = ct_series(Identity(patient), grid, phantom(grid))
        for data in series:
            if body_part:
                data.BodyPartExamined = body_part
        kept = [data for number, data in enumerate(series) if number != missing]
        return save_shuffled(kept, folder / "study")

    return write


def study_and_more(folder: Path) -> None:
    """A volume, a picture and notes in the folder of a study."""
    inside = study("e")(folder)
    nifti("beside.nii.gz")(inside)
    picture("thumbnail.png")(inside)
    (inside / "notes.txt").write_text("of no kind that is read")


VOLUMES = [
    Row("good", nifti("good.nii.gz"), "done"),
    Row("sheared", nifti("sheared.nii.gz", np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])), "done"),
    Row("sform", sform_alone(1.0004), "done"),
    Row("sform and pixdim", sform_alone(2.0), "refused", "AFFINE_CONFLICT"),
    Row("complex", nifti("complex.nii.gz", kind=np.complex64), "refused", "complex"),
    Row("gzip named nii", wrong_name, "refused", "rename it to b.nii.gz"),
    Row("small", lambda f: nib.save(nib.Nifti1Image(volume()[:6, :6, :6], AFFINE), f / "small.nii.gz"), "refused", "IMAGE_TOO_SMALL"),
    Row("nrrd", nrrd("mm"), "done"),
    Row("nrrd in um", nrrd("um"), "refused", "measures space in um"),
    Row("study", study("a"), "done"),
    Row("bottle", study("b", body_part="HEAD"), "done", "BODY_PART_MISMATCH"),
    Row("gap", study("c", missing=8), "refused", "SLICE_GAP"),
    Row("study and more", study_and_more, "done"),
]  # fmt: skip


def tree(folder: Path, rows: list[Row]) -> Path:
    for row in rows:
        (folder / row.name).mkdir(parents=True)
        row.make(folder / row.name)
    return folder


def plain(bundle: Path, source: Path, output: Path, *more: str) -> None:
    command = [
        sys.executable,
        "-m",
        "monai_dis",
        "segment",
        str(source),
        "-b",
        str(bundle),
        "-o",
        str(output),
        "--device",
        "cpu",
    ]
    limits = [word for name, value in LIMITS.items() for word in ("--limit", f"{name}={value}")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *limits, *more], capture_output=True, text=True, check=False, timeout=900, env=environment
    )
    assert "Traceback" not in done.stderr, done.stderr
    if not more or "--shard" not in more:
        assert done.returncode == 1, done.stdout + done.stderr  # some are refused


def on_workers(bundle: Path, source: Path, output: Path) -> None:
    plain(bundle, source, output, "--workers", "2")


def in_shares(bundle: Path, source: Path, output: Path) -> None:
    for share in ("1/3", "2/3", "3/3"):
        plain(bundle, source, output, "--shard", share)


def by_class(bundle: Path, source: Path, output: Path) -> None:
    options = Options.of_words(limits=LIMITS)
    segment = StudySegmenter(RunSettings(str(bundle), {"device": "cpu"}, options, threads=1))
    for each in find_studies([source], options, output=output):
        segment(each, output)


def by_bundle(bundle: Path, source: Path, output: Path) -> None:
    torch.set_num_threads(1)
    overrides = {
        "image_files": [str(source)],
        "output_dir": str(output),
        "device": "cpu",
        "evaluator::options": {"limits": LIMITS},
    }
    with pytest.raises(DisError, match="could not be segmented"):
        load_bundle(bundle, overrides=overrides).run()


WAYS = {"plain": plain, "workers": on_workers, "shares": in_shares, "class": by_class, "bundle": by_bundle}


def said(output: Path, source: Path) -> dict[str, tuple[str, str, dict[str, str]]]:
    """Status, sentences, and files and objects of each place."""
    found = {}
    for place, record in Ledger(output).records().items():
        sentences = [str(record.reason or ""), *(f"{each['code']}: {each['message']}" for each in record.findings)]
        files = {
            printable(Path(path).name): sha256(Path(path).read_bytes()).hexdigest() for path in record.outputs.values()
        }
        if record.status == "done" and record.kind != "slide":
            files["objects"] = repr(
                (record.entry["objects"], record.entry["object_counts"], record.entry.get("quadrants"))
            )
        found[printable(place.removeprefix(str(source)))] = (record.status, printable(" ".join(sentences)), files)
    return found


@pytest.fixture(scope="module", params=["pictures", "volumes"])
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Row], dict[str, Any], Path, Path, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    rows, bundle = (PICTURES if request.param == "pictures" else VOLUMES), write_tiny_bundle(folder)
    if request.param == "pictures":  # what slides are answered with: no size of their own
        config = bundle / "configs" / "inference.yaml"
        resize = "  - {_target_: Resized, keys: image, spatial_size: [64, 64], mode: bilinear}\n"
        assert resize in config.read_text()
        config.write_text(config.read_text().replace(resize, ""))
    else:
        from dicom_study import make_volume_bundle

        make_volume_bundle(bundle)
        file = bundle / "configs" / "metadata.json"
        metadata = json.loads(file.read_text())
        metadata["network_data_format"]["inputs"]["image"]["smallest_extent_mm"] = 12
        file.write_text(json.dumps(metadata))
    source = tree(folder / "in", rows)
    for name, way in WAYS.items():
        way(bundle, source, folder / name)
    return rows, {name: said(folder / name, source) for name in WAYS}, bundle, source, folder


def test_every_way_says_and_writes_the_same(results: Any) -> None:
    _, found, *_ = results
    for name in WAYS:
        assert found[name].keys() == found["plain"].keys(), name
        unequal = {
            place: (each, found["plain"][place]) for place, each in found[name].items() if each != found["plain"][place]
        }
        assert not unequal, name


def test_each_row_is_what_it_should_be(results: Any) -> None:
    rows, found, *_ = results
    for row in rows:
        ours = {place: each for place, each in found["plain"].items() if f"/{row.name}/" in place}
        if row.name in ("study", "bottle", "gap"):
            continue  # DICOM is told apart by its UIDs: see below
        statuses = {status for status, *_ in ours.values() if status != "skipped"}
        assert statuses == {row.status}, (row.name, ours)
        assert any(row.words in sentences for _, sentences, _ in ours.values()), (row.name, ours)
    if any(row.name == "bottle" for row in rows):
        studies = [each for place, each in found["plain"].items() if "#" in place]
        assert sorted(status for status, *_ in studies) == ["done", "done", "done", "refused"]
        for code in ("BODY_PART_MISMATCH", "SLICE_GAP"):
            assert sum(code in sentences for _, sentences, _ in studies) == 1
        assert [status for place, (status, *_) in found["plain"].items() if place.endswith("thumbnail.png")] == [
            "skipped"
        ]


def test_no_two_studies_share_a_file(results: Any) -> None:
    _, found, *_ = results
    names = [name for _, _, files in found["plain"].values() for name in files if name != "objects"]
    assert len(names) == len(set(names))


def test_what_one_way_did_the_others_keep(results: Any, tmp_path: Path) -> None:
    _, _, bundle, source, folder = results
    output = tmp_path / "one"
    shutil.copytree(folder / "plain", output)
    times = {
        path: path.stat().st_mtime_ns for path in output.iterdir() if not path.name.startswith(("manifest", "report"))
    }
    done = {place for place, record in Ledger(output).records().items() if record.status == "done"}
    for way in WAYS.values():
        way(bundle, source, output)
        assert {path: path.stat().st_mtime_ns for path in times} == times
    lines = [Record.of_content(content) for content in _lines(output)]
    assert sorted(each.place for each in lines if each is not None and each.status == "done") == sorted(done)


def _lines(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()]


def test_results_among_the_inputs_are_no_inputs_and_overwrite_nothing(results: Any, tmp_path: Path) -> None:
    rows, _, bundle, *_ = results
    if rows is VOLUMES:
        pytest.skip("pictures show it")
    own_answers(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for _ in range(2):
        segment = StudySegmenter(RunSettings(str(bundle), {"device": "cpu"}))
        for each in find_studies([tmp_path], output=tmp_path):
            assert segment(each, tmp_path).status == "done"
    assert {path: path.read_bytes() for path in before} == before
    written = sorted(path.name for path in tmp_path.glob("*_seg.png"))
    assert written == ["patient1_2_seg.png", "patient1_seg.png", "patient1_seg_seg.png"]
