"""A real server over an Orthanc that holds a photograph in colour: answered, delivered as SEG and as labels, and kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom")

import pydicom
import requests
from command_line import call
from dicom_files import write_part10
from dicom_objects import OPHTHALMIC_PHOTOGRAPH, Identity, photograph
from dicom_peers import needs_orthanc, orthanc
from dicom_study import SEGMENTS
from label_server import label_server, needs_label
from PIL import Image
from small_bundle import disc, write_tiny_bundle

pytestmark = [needs_label, needs_orthanc, pytest.mark.slow]

EYE = Identity("photograph", modality="OP", body_part="RETINA", description="Fundus")


def test_a_photograph_of_an_archive(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path)
    file = bundle / "configs" / "metadata.json"
    entry = {"modalities": ["OP"], "spatial_dims": 2, "segments": {"1": SEGMENTS["2"]}}
    file.write_text(json.dumps({**json.loads(file.read_text()), "dicom": entry}))
    data = photograph(EYE, OPHTHALMIC_PHOTOGRAPH, disc())
    write_part10(tmp_path / "in" / "photo", data)
    Image.fromarray(disc()).save(tmp_path / "photo.png")
    assert call("segment", tmp_path / "photo.png", "-b", bundle, "-o", tmp_path / "out") == 0
    wanted = np.asarray(Image.open(next((tmp_path / "out").glob("*_seg.png")))) > 0
    with orthanc(tmp_path / "orthanc") as archive:
        assert call("dicom", "send", archive.url, tmp_path / "in") == 0
        with label_server(archive.url, [bundle], tmp_path) as server:
            client, series = server.client(), str(data.SeriesInstanceUID)
            assert client.next_sample("sequential", {})["id"] == series

            answer, about = client.infer("tiny_bundle", series, {"result_extension": ".png"})
            assert np.array_equal(np.asarray(Image.open(answer)) > 0, wanted)
            assert about["areas_pixels"] == {"bright": int(wanted.sum())}

            seg, _ = client.infer("tiny_bundle", series, {"result_extension": ".seg.dcm"})
            found = pydicom.dcmread(seg)
            assert np.array_equal(found.pixel_array.reshape(wanted.shape) > 0, wanted)
            source = found.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
            assert source.ReferencedSOPInstanceUID == data.SOPInstanceUID

            # a click on the ground makes it foreground there, and nowhere else
            row, column = (int(place[0]) for place in np.nonzero(~wanted))
            clicked, _ = client.infer(
                "tiny_bundle_clicks", series, {"result_extension": ".png", "foreground": [[column, row]]}
            )
            labels = np.asarray(Image.open(clicked)) > 0
            assert labels[row, column] and 0 < (labels != wanted).sum() < wanted.size / 4

            client.save_label(series, answer, "final", {"label_info": [{"name": "bright", "idx": 1}]})
            kept = next(tmp_path.rglob(f"labels/final/{series}.png"))
            assert np.array_equal(np.asarray(Image.open(kept)) > 0, wanted)
            stored = requests.get(
                f"{archive.url}/series",
                params={"Modality": "SEG"},
                headers={"Accept": "application/dicom+json"},
                timeout=60,
            )
            assert len(stored.json()) == 1
