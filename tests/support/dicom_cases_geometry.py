"""Input cases I0 to I12: geometry and structure of series."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dicom_case import MR_BUNDLE, MR_OFFSET, CaseWriter, case
from dicom_objects import (
    ENHANCED_CT_IMAGE,
    ENHANCED_MR_IMAGE,
    PATIENTS,
    ct_series,
    decimal_strings,
    enhanced_image,
    localizer_images,
    mr_series,
)
from dicom_phantom import Grid, oblique_grid, phantom, tilted_grid
from pydicom.dataset import Dataset


@case("I0-control", None, "accept", "Regular axial CT, 24 slices 3 mm apart; file names shuffled.")
def control(out: CaseWriter) -> None:
    out.save(ct_series(out.identity()))
    out.expect_volume(Grid())


@case(
    "I1a-slice-missing",
    "SLICE_GAP",
    "reject",
    "Slice 12 of 24 absent: one step of 6 mm among 3 mm.",
)
def slice_missing(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    out.save(series[:11] + series[12:])
    out.expect_landmarks(Grid())
    out.expect(checks={"steps_mm": [3.0, 6.0], "missing_slices": 1})


@case("I1b-slices-missing-four", "SLICE_GAP", "reject", "Slices 9 to 12 absent: one step of 15 mm.")
def slices_missing(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    out.save(series[:8] + series[12:])
    out.expect_landmarks(Grid())
    out.expect(checks={"steps_mm": [3.0, 15.0], "missing_slices": 4})


@case(
    "I1c-spacing-two-zones",
    "SPACING_NON_UNIFORM",
    "reject",
    "Steps of 3 mm, then of 5 mm: no whole multiple.",
)
def spacing_zones(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    for index, ds in enumerate(series):
        z = -100.0 + 3.0 * min(index, 12) + 5.0 * max(index - 12, 0)
        ds.ImagePositionPatient = decimal_strings((-39.0, -31.0, z))
        ds.SliceLocation = decimal_strings([z])[0]
    out.save(series)
    out.expect(checks={"steps_mm": [3.0, 5.0]})


@case(
    "I1d-spacing-rounded",
    None,
    "accept",
    "Step of 5/6 mm with positions rounded to 0.01 mm: regular.",
)
def spacing_rounded(out: CaseWriter) -> None:
    grid = Grid(step=(0.0, 0.0, 5.0 / 6.0))
    series = ct_series(out.identity(), grid)
    for index, ds in enumerate(series):
        ds.ImagePositionPatient = decimal_strings(np.round(grid.position(index), 2))
    out.save(series)
    out.expect_volume(grid)
    out.expect(checks={"position_tolerance_mm": 0.01})


@case(
    "I2a-slice-duplicate-same",
    "SLICE_DUPLICATE",
    "fix",
    "One slice stored twice with equal pixels and two instance UIDs.",
)
def duplicate_same(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    copy = ct_series(out.identity())[7]
    copy.SOPInstanceUID = out.identity().uid("copy")
    copy.InstanceNumber = "25"
    out.save([*series, copy])
    out.expect_volume(Grid())


@case(
    "I2b-slice-duplicate-conflict",
    "SLICE_CONFLICT",
    "reject",
    "Two slices at one position with different pixels.",
)
def duplicate_conflict(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    copy = ct_series(out.identity(), volume=phantom(Grid()) + 50)[7]
    copy.SOPInstanceUID = out.identity().uid("copy")
    copy.InstanceNumber = "25"
    out.save([*series, copy])
    out.expect_landmarks(Grid())


@case(
    "I2c-file-twice",
    "SLICE_DUPLICATE",
    "fix",
    "One file copied under a second name: the same instance UID twice.",
)
def file_twice(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    paths = out.save(series)
    shutil.copyfile(paths[3], out.folder / "copy of image.dcm")
    out.expect_volume(Grid())


@case(
    "I3a-gantry-tilt",
    "GANTRY_TILT",
    "fix",
    "Planes lean by 15 degrees; positions move along z: a sheared grid.",
)
def gantry_tilt(out: CaseWriter) -> None:
    grid = tilted_grid(15.0)
    series = ct_series(out.identity(), grid)
    for ds in series:
        ds.GantryDetectorTilt = "15"
    out.save(series)
    out.expect_volume(grid)
    out.expect(checks={"shear_degrees": 15.0, "slice_distance_mm": 3.0 * math.cos(math.radians(15))})


@case(
    "I3b-gantry-tilt-attribute-only",
    "GANTRY_TILT_INCONSISTENT",
    "warn",
    "GantryDetectorTilt says 15 degrees, the positions form a right grid.",
)
def gantry_tilt_stale(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    for ds in series:
        ds.GantryDetectorTilt = "15"
    out.save(series)
    out.expect_volume(Grid())


@case("I4a-pixels-non-square", "PIXEL_NON_SQUARE", "fix", "Rows 1.5 mm apart, columns 3 mm apart.")
def pixels_non_square(out: CaseWriter) -> None:
    grid = Grid(row_spacing=1.5, column_spacing=3.0)
    out.save(ct_series(out.identity(), grid))
    out.expect_volume(grid)


@case("I5a-oblique", "ORIENTATION_OBLIQUE", "fix", "Double-oblique MR stack.")
def oblique(out: CaseWriter) -> None:
    grid = oblique_grid(25.0, -15.0)
    out.save(mr_series(out.identity(modality="MR"), grid))
    out.expect_volume(grid, MR_OFFSET)
    out.expect(bundle=MR_BUNDLE)


@case("I5b-coronal", "ORIENTATION_OBLIQUE", "fix", "Coronal MR stack, anterior to posterior.")
def coronal(out: CaseWriter) -> None:
    grid = Grid(column_direction=(0.0, 0.0, -1.0), step=(0.0, 3.0, 0.0))
    out.save(mr_series(out.identity(modality="MR"), grid))
    out.expect_volume(grid, MR_OFFSET)
    out.expect(bundle=MR_BUNDLE)


@case("I5c-sagittal", "ORIENTATION_OBLIQUE", "fix", "Sagittal MR stack, right to left.")
def sagittal(out: CaseWriter) -> None:
    grid = Grid(row_direction=(0.0, 1.0, 0.0), column_direction=(0.0, 0.0, -1.0), step=(3.0, 0.0, 0.0))
    out.save(mr_series(out.identity(modality="MR"), grid))
    out.expect_volume(grid, MR_OFFSET)
    out.expect(bundle=MR_BUNDLE)


@case(
    "I6a-instance-order-reversed",
    "SLICE_ORDER",
    "fix",
    "InstanceNumber falls while the position rises along the normal.",
)
def instance_order_reversed(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    for index, ds in enumerate(series):
        ds.InstanceNumber = str(len(series) - index)
    out.save(series)
    out.expect_volume(Grid())


@case(
    "I6b-axes-negated",
    "AXIS_REVERSED",
    "fix",
    "Row and column directions both negative (prone-like).",
)
def axes_negated(out: CaseWriter) -> None:
    grid = Grid(
        row_direction=(-1.0, 0.0, 0.0),
        column_direction=(0.0, -1.0, 0.0),
        origin=(39.0, 31.0, -100.0),
    )
    series = ct_series(out.identity(), grid)
    for ds in series:
        ds.PatientPosition = "HFP"
    out.save(series)
    out.expect_volume(grid)


@case(
    "I6c-normal-reversed",
    "AXIS_REVERSED",
    "fix",
    "Column direction negative alone: the normal points to the feet.",
)
def normal_reversed(out: CaseWriter) -> None:
    grid = Grid(column_direction=(0.0, -1.0, 0.0), origin=(-39.0, 31.0, -100.0))
    out.save(ct_series(out.identity(), grid))
    out.expect_volume(grid)


@case(
    "I6d-instance-number-empty",
    "SLICE_ORDER",
    "fix",
    "InstanceNumber empty in every slice; file names carry no order.",
)
def instance_number_empty(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    for ds in series:
        ds.InstanceNumber = None
    out.save(series)
    out.expect_volume(Grid())


def shuffled(values: Sequence[Any], key: str) -> list[Any]:
    """Return the values in a fixed order that looks random."""
    values = list(values)
    random.Random(key).shuffle(values)
    return values


@case("I7a-enhanced-ct", "MULTIFRAME", "fix", "Enhanced CT, 24 frames stored in shuffled order.")
def enhanced_ct(out: CaseWriter) -> None:
    grid = Grid()
    frames = shuffled([(0, index) for index in range(grid.slices)], out.name)
    stored = phantom(grid)[None].astype(int) + 1024
    out.save([enhanced_image(out.identity(), ENHANCED_CT_IMAGE, grid, stored, frames)])
    out.expect_volume(grid)


@case(
    "I7b-enhanced-mr-two-echoes",
    "VOLUME_MULTIPLE",
    "reject",
    "Enhanced MR holding two echoes of one stack.",
)
def enhanced_mr(out: CaseWriter) -> None:
    grid = Grid()
    stored = np.stack([phantom(grid).astype(int) + 1000, phantom(grid).astype(int) + 1400])
    frames = [(echo, index) for index in range(grid.slices) for echo in (0, 1)]
    identity = out.identity(modality="MR")
    out.save([enhanced_image(identity, ENHANCED_MR_IMAGE, grid, stored, frames)])
    out.expect_landmarks(grid, MR_OFFSET)
    out.expect(bundle=MR_BUNDLE, checks={"candidate_volumes": 2, "differs_in": "EffectiveEchoTime"})


@case(
    "I7c-enhanced-ct-frame-missing",
    "SLICE_GAP",
    "reject",
    "Enhanced CT whose frames skip one position.",
)
def enhanced_gap(out: CaseWriter) -> None:
    grid = Grid()
    frames = [(0, index) for index in range(grid.slices) if index != 11]
    stored = phantom(grid)[None].astype(int) + 1024
    out.save([enhanced_image(out.identity(), ENHANCED_CT_IMAGE, grid, stored, frames)])
    out.expect_landmarks(grid)


@case("I8a-single-slice", "SINGLE_SLICE", "reject", "A CT series of one slice for a 3D bundle.")
def single_slice(out: CaseWriter) -> None:
    grid = Grid(slices=1)
    out.save(ct_series(out.identity(), grid))
    out.expect_landmarks(grid)


@case(
    "I9a-localizer",
    "ORIENTATION_MIXED",
    "fix",
    "A coronal and a sagittal LOCALIZER image inside the axial series.",
)
def localizer(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    out.save(series + localizer_images(out.identity()))
    out.expect_volume(Grid())
    out.expect(checks={"skipped_instances": 2})


@case(
    "I9b-two-stacks",
    "ORIENTATION_MIXED",
    "reject",
    "An axial and a coronal stack of equal size under one series UID.",
)
def two_stacks(out: CaseWriter) -> None:
    axial = mr_series(out.identity(modality="MR"))
    grid = Grid(column_direction=(0.0, 0.0, -1.0), step=(0.0, 3.0, 0.0), origin=(-39.0, -36.0, -31.0))
    second = mr_series(out.identity(modality="MR"), grid)
    for ds in second:
        ds.InstanceNumber = str(int(ds.InstanceNumber) + len(axial))
        ds.SOPInstanceUID = out.identity().uid("coronal", ds.InstanceNumber)
    out.save(axial + second)
    out.expect(bundle=MR_BUNDLE, checks={"candidate_volumes": 2})


def repeated_volumes(
    out: CaseWriter, modality: str, mark: Callable[[Dataset, int], None], interleaved: bool
) -> list[Dataset]:
    """Return two volumes at equal positions under one series UID.

    ``mark`` sets on each object the attribute that tells volume 0 from 1.
    """
    make = mr_series if modality == "MR" else ct_series
    volumes = []
    for number in (0, 1):
        identity = out.identity(modality=modality)
        series = make(identity, volume=phantom(Grid()) + 60 * number)
        for index, ds in enumerate(series):
            order = 2 * index + number if interleaved else number * len(series) + index
            ds.InstanceNumber = str(order + 1)
            ds.SOPInstanceUID = identity.uid("volume", number, index)
            mark(ds, number)
        volumes.append(series)
    return volumes[0] + volumes[1]


def multiple_volumes(
    out: CaseWriter, modality: str, attribute: str, values: tuple[Any, Any], interleaved: bool
) -> None:
    """Write a series of two volumes that differ in one attribute."""

    def mark(ds: Dataset, number: int) -> None:
        setattr(ds, attribute, values[number])

    out.save(repeated_volumes(out, modality, mark, interleaved))
    out.expect_landmarks(Grid(), MR_OFFSET if modality == "MR" else 0.0)
    out.expect(
        bundle={"modality": modality, "body_part": "ABDOMEN"},
        checks={"candidate_volumes": 2, "differs_in": attribute},
    )


@case(
    "I10a-multi-echo",
    "VOLUME_MULTIPLE",
    "reject",
    "Two echoes in one MR series, interleaved by InstanceNumber.",
)
def multi_echo(out: CaseWriter) -> None:
    multiple_volumes(out, "MR", "EchoTime", ("20", "80"), interleaved=True)


@case("I10b-multi-b-value", "VOLUME_MULTIPLE", "reject", "Diffusion series with b = 0 and b = 800.")
def multi_b_value(out: CaseWriter) -> None:
    multiple_volumes(out, "MR", "DiffusionBValue", (0.0, 800.0), interleaved=False)


@case(
    "I10c-multi-phase",
    "VOLUME_MULTIPLE",
    "reject",
    "Arterial and venous CT phase under one series UID.",
)
def multi_phase(out: CaseWriter) -> None:
    multiple_volumes(out, "CT", "AcquisitionNumber", ("1", "2"), interleaved=False)


@case(
    "I10d-time-points",
    "VOLUME_MULTIPLE",
    "reject",
    "Two time points (4D) told apart by TemporalPositionIdentifier.",
)
def time_points(out: CaseWriter) -> None:
    def mark(ds: Dataset, number: int) -> None:
        ds.TemporalPositionIdentifier = str(number + 1)
        ds.NumberOfTemporalPositions = "2"
        ds.AcquisitionTime = ("101500", "101530")[number]

    out.save(repeated_volumes(out, "MR", mark, interleaved=True))
    out.expect_landmarks(Grid(), MR_OFFSET)
    out.expect(
        bundle=MR_BUNDLE,
        checks={"candidate_volumes": 2, "differs_in": "TemporalPositionIdentifier"},
    )


@case(
    "I11a-series-two",
    "SERIES_AMBIGUOUS",
    "reject",
    "Two CT series of one study in one folder, both fit the bundle.",
)
def series_two(out: CaseWriter) -> None:
    first = out.identity(series=1, description="Soft tissue 3 mm")
    second = out.identity(series=2, description="Bone 3 mm")
    out.save(ct_series(first), prefix="a")
    out.save(ct_series(second, volume=phantom(Grid()) + 20), prefix="b")
    out.expect_landmarks(Grid())


@case(
    "I11b-series-one-fits",
    "SERIES_SELECTED",
    "fix",
    "A CT and an MR series in one folder; only the CT fits the bundle.",
)
def series_one_fits(out: CaseWriter) -> None:
    out.save(ct_series(out.identity(series=1)), prefix="a")
    out.save(mr_series(out.identity(series=2, modality="MR")), prefix="b")
    out.expect_volume(Grid())


@case("I12a-patients-two", "PATIENT_MIXED", "reject", "Studies of two patients in one folder.")
def patients_two(out: CaseWriter) -> None:
    out.save(ct_series(out.identity()), prefix="a")
    out.save(ct_series(out.identity(patient="second", study=2)), prefix="b")


@case("I12b-studies-two", "STUDY_MIXED", "reject", "Two studies of one patient in one folder.")
def studies_two(out: CaseWriter) -> None:
    out.save(ct_series(out.identity()), prefix="a")
    out.save(ct_series(out.identity(study=2)), prefix="b")


@case(
    "I12c-patient-differs-in-series",
    "PATIENT_MIXED",
    "reject",
    "One series whose slices name two patients.",
)
def patient_differs(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    for ds in series[12:]:
        ds.PatientID, ds.PatientName = PATIENTS["second"]
    out.save(series)
