"""A real server over an Orthanc, by DICOMweb: the client's round trip, and the viewer that comes with MONAI Label in a browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pydicom")

import pydicom
from command_line import call
from dicom_peers import Orthanc, needs_orthanc, orthanc
from dicom_phantom import Grid, phantom
from dicom_study import make_volume_bundle, save_shuffled, small_series
from label_server import Running, label_server, needs_label
from ohif import DRIVER, LONGEST_S
from small_bundle import write_tiny_bundle

pytestmark = [needs_label, needs_orthanc, pytest.mark.slow]

GRID = Grid(row_spacing=1.5, column_spacing=3.0)
SCRIPT = Path(__file__).parents[1] / "support" / "label_ohif.cjs"


@dataclass(frozen=True)
class Desk:
    """A server with its archive."""

    server: Running
    archive: Orthanc
    study: str
    series: str
    truth: np.ndarray


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    values = phantom(GRID)
    values[values == 150] = 300  # the organ, so that both classes are seen
    source = save_shuffled(small_series(GRID, values), folder / "in")
    header = pydicom.dcmread(next(source.iterdir()))
    bundle = make_volume_bundle(write_tiny_bundle(folder))
    with orthanc(folder / "orthanc") as archive:
        assert call("dicom", "send", archive.url, source) == 0
        with label_server(archive.url, [bundle], folder) as server:
            truth = np.digitize(values, [64, 192]).T
            yield Desk(server, archive, str(header.StudyInstanceUID), str(header.SeriesInstanceUID), truth)


def infer(desk: Desk, model: str = "tiny_bundle", **params: Any) -> tuple[str, dict[str, Any]]:
    file, about = desk.server.client().infer(model, desk.series, params)
    return str(file), about


@pytest.mark.parametrize("strategy", ["expected_gain", "random", "sequential"])
def test_the_next_sample_is_the_series(desk: Desk, strategy: str) -> None:
    assert desk.server.client().next_sample(strategy, {})["id"] == desk.series


def test_answers_lie_on_the_series(desk: Desk) -> None:
    import nrrd

    file, about = infer(desk, result_extension=".nrrd", result_dtype="uint16", result_compress=False)
    labels, header = nrrd.read(file)
    assert np.array_equal(labels, desk.truth)
    columns = np.asarray(header["space directions"]).T
    assert np.allclose(np.column_stack([columns, header["space origin"]]), GRID.affine()[:3])
    voxel_ml = GRID.row_spacing * GRID.column_spacing * abs(columns[2, 2]) / 1000
    assert about["volumes_ml"]["Liver"] == pytest.approx((desk.truth == 2).sum() * voxel_ml, rel=1e-3)


def test_a_seg_is_of_our_own_writer(desk: Desk, tmp_path: Path) -> None:
    import requests

    fields = {"params": (None, json.dumps({"label_info": []}))}
    answer = requests.post(
        f"{desk.server.url}/infer/tiny_bundle",
        params={"image": desk.series, "output": "dicom_seg"},
        files=fields,
        timeout=120,
    )
    assert answer.status_code == 200
    (tmp_path / "seg.dcm").write_bytes(answer.content)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert seg.SeriesDescription.startswith("SEG monai_dis")
    assert [each.SegmentLabel for each in seg.SegmentSequence] == ["Right kidney", "Liver"]
    assert seg.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
    file, _ = infer(desk, "tiny_bundle_clicks", result_extension=".seg.dcm", foreground=[[5, 5, 5]])
    assert pydicom.dcmread(file).SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"


def test_what_a_reader_submits_is_a_seg_in_the_archive(desk: Desk) -> None:
    import requests

    file, _ = infer(desk, result_extension=".nrrd")
    info = {"label_info": [{"name": "Right kidney", "idx": 1}, {"name": "Liver", "idx": 2}]}
    saved = desk.server.client().save_label(desk.series, file, "final", info)
    assert saved["label"] == desk.series
    answer = requests.get(
        f"{desk.archive.url}/series",
        params={"Modality": "SEG"},
        headers={"Accept": "application/dicom+json"},
        timeout=60,
    )
    assert len(answer.json()) == 1


@pytest.mark.skipif(shutil.which("node") is None or shutil.which("chromium") is None or not DRIVER.is_dir(),
                    reason="Chromium, Node or playwright-core is not installed")  # fmt: skip
def test_ohif_segments_and_follows_a_point(desk: Desk, tmp_path: Path) -> None:
    pictures = Path(os.environ.get("LABEL_OHIF_PICTURES", tmp_path))
    command = ["node", SCRIPT, DRIVER, shutil.which("chromium"), desk.server.url, desk.study]
    command += ["tiny_bundle", "tiny_bundle_clicks", "8", "Liver", pictures]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=LONGEST_S, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    counts = json.loads(done.stdout)
    print(counts)
    assert all(status == 200 for name, status in counts.items() if name.endswith("status"))
    assert sum(counts["2_connected"]) == 0
    red, green, blue = counts["3_segmented"]
    assert red > 500 and blue < red
    assert counts["4_clicked"][1] > green + 20  # the second segment is green, and there is more of it at the point
    assert counts["5_look"][2] > 500  # what is uncertain is violet
