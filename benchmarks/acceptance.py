"""The acceptance list of DICOM as a table: for each input case the finding that `monai-dis dicom check` reports, for each output
expectation the tests that prove it.

Usage, with the tests' JUnit file for the outputs and, instead of the cases that the tests generate, a folder of others with an
``expected.json`` of the same form::

    python -m pytest tests/dicom --junitxml junit.xml
    python benchmarks/acceptance.py --junit junit.xml [--cases FOLDER] > acceptance.md

Ends with status 1 where a case is not met, or a test failed or was not run.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from monai_dis.cli import main as monai_dis

SUPPORT = Path(__file__).parents[1] / "tests" / "support"

#: What is expected of results, and the names of the tests that prove it.
OUTPUTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "O1": (
        "valid, and read by others",
        (
            "test_dciodvfy_finds_no_error",
            "test_dcmtk_reads_every_object",
            "test_highdicom_reads_the_mask_back",
            "test_slicer_finds_a_seg_where_the_source_is",
            "test_ohif_colours_the_segments_where_they_are",
        ),
    ),
    "O2": (
        "the source's planes, every instance referenced",
        (
            "test_there_is_a_frame_for_every_source_plane_and_a_reference_to_every_instance",
            "test_a_multi_frame_source_is_referenced_by_frame",
            "test_a_marked_voxel_is_in_one_place_in_source_seg_and_nifti",
            "test_dcmqi_and_itk_find_the_same_mask_in_the_same_place",
        ),
    ),
    "O3": (
        "segments coded, with colours and laterality",
        (
            "test_segments_are_coded",
            "test_a_colour_is_the_same_in_lab",
            "test_a_bundle_without_codes_is_no_bundle_for_dicom",
            "test_segments_are_the_networks_classes_with_codes_of_the_standard",
        ),
    ),
    "O4": (
        "binary, label map on request",
        ("test_a_label_map_holds_the_same_labels", "test_a_seg_holds_a_frame_for_each_class_that_overlaps"),
    ),
    "O5": (
        "algorithm, tracking, research use",
        ("test_segments_are_coded", "test_research_use_is_said_and_can_be_replaced"),
    ),
    "O6": (
        "the same input gives the same objects",
        ("test_the_same_run_gives_the_same_bytes_and_other_weights_other_uids", "test_a_second_run_keeps_the_result"),
    ),
    "O7": ("nothing found is a result", ("test_nothing_found_is_a_result",)),
    "O8": (
        "patient and study copied",
        ("test_patient_and_study_are_copied_and_nothing_else_of_the_person", "test_names_are_copied_byte_for_byte"),
    ),
    "O9": ("volumes in mL of the source grid", ("test_volumes_are_in_millilitres_of_the_source_grid",)),
    "O10": (
        "NIfTI and .seg.nrrd with names and codes",
        (
            "test_nifti_on_request_with_labels_and_codes",
            "test_seg_nrrd_on_request_with_names_codes_and_colours",
            "test_classes_that_overlap_are_all_there",
            "test_slicer_finds_every_voxel_where_the_source_has_it",
        ),
    ),
    "O11": ("uncertainty in a series of its own", ("test_what_stays_uncertain_is_an_object_of_its_own",)),
    "O12": (
        "no person's data but in the objects",
        ("test_no_persons_data_but_in_the_objects", "test_no_picture_is_made_of_burned_in_text"),
    ),
    "O13": (
        "whole files, every instance acknowledged",
        (
            "test_a_cohort_that_was_killed_is_finished",
            "test_a_full_disk_leaves_whole_files_and_is_said_once",
            "test_each_answer_of_a_server_is_read",
            "test_each_status_of_c_store_is_read",
            "test_a_study_goes_to_orthanc_and_back_and_its_result_too",
        ),
    ),
}


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    cells: tuple[str, ...]
    met: bool

    def __str__(self) -> str:
        return (
            "| " + " | ".join(cell.replace("|", "/") for cell in (*self.cells, "yes" if self.met else "**no**")) + " |"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, help="folder of generated cases with expected.json; made anew without it")
    parser.add_argument(
        "--junit", type=Path, help="JUnit file of a run of tests/dicom; outputs are left out without it"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cases = options.cases or generated(Path(folder))
        rows = list(input_rows(cases))
    print_table(("item", "input", "expected", "verdict", "message", "met"), rows)
    if options.junit is not None:
        outputs = list(output_rows(options.junit))
        print_table(("item", "expected", "tests and how many inputs", "verdict", "met"), outputs)
        rows += outputs
    print(f"{sum(row.met for row in rows)} of {len(rows)} met")
    return 0 if all(row.met for row in rows) else 1


def generated(folder: Path) -> Path:
    """The cases of the tests."""
    sys.path.insert(0, str(SUPPORT))
    from dicom_case import CASES, CaseWriter

    for kind in ("geometry", "values", "files", "volume_files"):
        import_module(f"dicom_cases_{kind}")  # which registers its cases
    expected: dict[str, Any] = {}
    for case in CASES:
        writer = CaseWriter(case.name, folder)
        writer.folder.mkdir(parents=True)
        case.build(writer)
        default = {"input": case.name, "bundle": {"modality": "CT", "body_part": "ABDOMEN"}}
        own = {"item": case.item, "code": case.code, "verdict": case.verdict, "summary": case.summary}
        expected[case.name] = {**default, **writer.record, **own}
    (folder / "expected.json").write_text(json.dumps({"cases": expected}, default=str))
    return folder


def input_rows(folder: Path) -> Iterator[Row]:
    """Each case through the command line."""
    cases = json.loads((folder / "expected.json").read_text(encoding="utf-8"))["cases"]
    for name, case in sorted(cases.items(), key=lambda item: place_of(item[0])):
        found = checked(folder / case["input"], case["bundle"])
        codes = {each["code"]: each["message"] for each in found["findings"]}
        strictest = found["findings"][0]["code"] if found["findings"] else ""
        shown = case["code"] if case["code"] in codes else strictest
        verdict = f"{found['verdict']} {shown}".strip()
        met = found["verdict"] == case["verdict"] and (case["code"] is None or case["code"] in codes)
        wanted = f"{case['verdict']} {case['code'] or ''}".strip()
        yield Row((case["item"], f"{name}: {case['summary']}", wanted, verdict, codes.get(shown, "")), met)


def place_of(name: str) -> tuple[int, str]:
    """Place in the list: the number, then the letter."""
    found = re.match(r"I(\d+)(.*)", name)
    return (int(found[1]), found[2]) if found else (0, name)


def checked(source: Path, bundle: Mapping[str, str]) -> dict[str, Any]:
    """What `monai-dis dicom check` writes of an input."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        file = Path(folder) / "check.json"
        wanted = ["--modality", bundle["modality"], "--body-part", bundle["body_part"]]
        with suppress(SystemExit):
            monai_dis(["dicom", "check", str(source), *wanted, "--json", str(file)])
        report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return report


def output_rows(junit: Path) -> Iterator[Row]:
    """What became of the tests of each expectation."""
    outcomes: dict[str, list[str]] = {}
    for case in ElementTree.parse(junit).iter("testcase"):
        kinds = [child.tag for child in case]
        outcome = next((kind for kind in ("failure", "error", "skipped") if kind in kinds), "passed")
        outcomes.setdefault(case.attrib["name"].partition("[")[0], []).append(outcome)
    for item, (meaning, names) in OUTPUTS.items():
        said = "; ".join(
            f"{name.removeprefix('test_').replace('_', ' ')} ({len(outcomes.get(name, ()))})" for name in names
        )
        every = [outcome for name in names for outcome in outcomes.get(name, ["not run"])]
        counts = ", ".join(f"{every.count(kind)} {kind}" for kind in dict.fromkeys(every))
        yield Row((item, meaning, said, counts), set(every) == {"passed"})


def print_table(titles: tuple[str, ...], rows: list[Row]) -> None:
    print("| " + " | ".join(titles) + " |")
    print("|" + " --- |" * len(titles))
    for row in rows:
        print(row)
    print()


if __name__ == "__main__":
    sys.exit(main())
