"""Input cases I23: NIfTI, NRRD and MetaImage."""

from __future__ import annotations

import numpy as np
from dicom_case import CaseWriter, case
from dicom_files import gzip_bytes, mha_bytes, nifti_bytes, nrrd_bytes
from dicom_phantom import STANDARD_GRID, Grid, oblique_grid, phantom, tilted_grid

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def array_and_affine(grid: Grid = STANDARD_GRID) -> tuple[np.ndarray, np.ndarray]:
    """Return the phantom indexed (column, row, slice) and its affine to RAS."""
    return phantom(grid).transpose(2, 1, 0), LPS_TO_RAS @ grid.affine()


def file_case(out: CaseWriter, name: str, content: bytes, grid: Grid | None = STANDARD_GRID) -> None:
    """Write one image file and expect the volume of the grid, if one is given."""
    out.write(name, content)
    out.expect(input=f"{out.name}/{name}")
    if grid is not None:
        out.expect_volume(grid)


@case("I23a-nifti-control", None, "accept", "NIfTI with equal sform and qform of an oblique grid.")
def nifti_control(out: CaseWriter) -> None:
    grid = oblique_grid(20.0, 10.0)
    data, affine = array_and_affine(grid)
    file_case(out, "image.nii.gz", gzip_bytes(nifti_bytes(data, affine, affine)), grid)


@case(
    "I23b-nifti-forms-disagree",
    "AFFINE_CONFLICT",
    "reject",
    "sform and qform differ by a shift of 40 mm and a flip.",
)
def nifti_forms_disagree(out: CaseWriter) -> None:
    data, affine = array_and_affine()
    other = affine.copy()
    other[:, 0] *= -1
    other[0, 3] += 40.0
    file_case(out, "image.nii", nifti_bytes(data, affine, other), None)


@case("I23c-nifti-metres", "UNITS_NOT_MM", "fix", "xyzt_units says metres; sizes are 0.002 and 0.003.")
def nifti_metres(out: CaseWriter) -> None:
    data, affine = array_and_affine()
    in_metres = affine.copy()
    in_metres[:3] /= 1000.0
    file_case(out, "image.nii", nifti_bytes(data, in_metres, in_metres, units=1))


@case("I23d-nifti-4d", "VOLUME_MULTIPLE", "reject", "A 4D NIfTI of two volumes.")
def nifti_4d(out: CaseWriter) -> None:
    data, affine = array_and_affine()
    stacked = np.stack([data, data + 60], axis=-1)
    file_case(out, "image.nii", nifti_bytes(stacked, affine, affine), None)
    out.expect(checks={"candidate_volumes": 2})


@case(
    "I23e-nifti-shear",
    "AFFINE_SHEARED",
    "fix",
    "sform that is sheared by 15 degrees; qform code 0.",
)
def nifti_shear(out: CaseWriter) -> None:
    grid = tilted_grid(15.0)
    data, affine = array_and_affine(grid)
    file_case(out, "image.nii", nifti_bytes(data, affine, None), grid)


@case(
    "I23f-nifti-scaling",
    "SCALING_APPLIED",
    "fix",
    "scl_slope 0.5 and scl_inter -100 with doubled stored values.",
)
def nifti_scaling(out: CaseWriter) -> None:
    data, affine = array_and_affine()
    stored = (data.astype(int) + 100) * 2
    content = nifti_bytes(stored.astype(np.int16), affine, affine, slope=0.5, intercept=-100.0)
    file_case(out, "image.nii", content)


@case("I23g-nifti-scaling-nan", "SCALING_INVALID", "reject", "scl_slope is not a number.")
def nifti_scaling_nan(out: CaseWriter) -> None:
    data, affine = array_and_affine()
    content = nifti_bytes(data, affine, affine, slope=float("nan"), intercept=float("nan"))
    file_case(out, "image.nii", content, None)


@case(
    "I23h-nifti-zero-spacing",
    "AFFINE_SINGULAR",
    "reject",
    "pixdim and the sform's third column are zero.",
)
def nifti_zero_spacing(out: CaseWriter) -> None:
    data, affine = array_and_affine()
    flat = affine.copy()
    flat[:3, 2] = 0.0
    content = nifti_bytes(data, flat, None, pixdim=(2.0, 2.0, 0.0))
    file_case(out, "image.nii", content, None)


@case("I23i-nifti-no-form", "AFFINE_MISSING", "reject", "sform and qform codes are both 0.")
def nifti_no_form(out: CaseWriter) -> None:
    data, _ = array_and_affine()
    content = nifti_bytes(data, None, None, pixdim=(2.0, 2.0, 3.0))
    file_case(out, "image.nii", content, None)


@case("I23j-nrrd-ras", "SPACE_CONVERTED", "fix", "NRRD in right-anterior-superior space.")
def nrrd_ras(out: CaseWriter) -> None:
    data, affine = array_and_affine()
    file_case(out, "image.nrrd", nrrd_bytes(data, "right-anterior-superior", affine))


@case("I23k-nrrd-lps", None, "accept", "NRRD in left-posterior-superior space, oblique.")
def nrrd_lps(out: CaseWriter) -> None:
    grid = oblique_grid(20.0, 10.0)
    data, _ = array_and_affine(grid)
    file_case(out, "image.nrrd", nrrd_bytes(data, "left-posterior-superior", grid.affine()), grid)


@case(
    "I23l-nrrd-no-space",
    "AFFINE_MISSING",
    "reject",
    "NRRD with spacings only: no space, directions or origin.",
)
def nrrd_no_space(out: CaseWriter) -> None:
    data, affine = array_and_affine()
    file_case(out, "image.nrrd", nrrd_bytes(data, None, affine), None)


@case("I23m-mha-direction", None, "accept", "MetaImage with an oblique TransformMatrix.")
def mha_direction(out: CaseWriter) -> None:
    grid = oblique_grid(20.0, 10.0)
    data, _ = array_and_affine(grid)
    file_case(out, "image.mha", mha_bytes(data, grid.affine()), grid)
