"""Headers of NIfTI, NRRD and MetaImage files under the same findings as DICOM: geometry, units, scaling, claimed size (I22, I23).

Affines are from voxel indices to LPS coordinates in mm. Only headers are read.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_dis.checks.findings import Finding, Policy, finding
from monai_dis.checks.limits import Limits
from monai_dis.data.coordinates import angle_degrees, swap_ras_lps
from monai_dis.data.image_files import image_suffix
from monai_dis.data.nifti import nifti_header
from monai_dis.data.volume_headers import nrrd_units

__all__ = ["FileVolume", "inspect_volume_file"]

Matrix = npt.NDArray[np.float64]

_HEADER_BYTES = 1 << 16
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
_SHEAR_DEGREES = 0.1
_CORNER_VOXELS = 0.1
_PIXDIM_TOLERANCE = 1e-2  # of a voxel: pixdim is often rounded, ITK takes spacing from it and nibabel from the sform
_NRRD_SPACES = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}
_BYTES = {
    "char": 1,
    "uchar": 1,
    "short": 2,
    "ushort": 2,
    "int": 4,
    "uint": 4,
    "float": 4,
    "double": 8,
    "long": 8,
    "ulong": 8,
}


@dataclass(frozen=True)
class FileVolume:
    """Size and place of the volume in a file.

    Attributes:
        shape: along the three axes of the file.
        affine_lps: (4, 4) from indices along these axes to LPS coordinates in mm.
    """

    shape: tuple[int, int, int]
    affine_lps: Matrix

    def to_dict(self) -> dict[str, list[int] | list[list[float]]]:
        """Size and place in plain JSON types, in the terms of DICOM volumes."""
        return {
            "shape_columns_rows_slices": list(self.shape),
            "affine_lps_mm": (np.round(self.affine_lps, 9) + 0.0).tolist(),
        }


def inspect_volume_file(path: Path, limits: Limits) -> tuple[FileVolume | None, list[Finding]]:
    """Look at the header of a volume file.

    Args:
        path: ``.nii``, ``.nii.gz``, ``.nrrd``, ``.mha`` or ``.mhd``.
        limits: on its sizes.

    Returns:
        the volume, None when the header does not place it; and what was found.
    """
    try:
        head, size = _head(path), path.stat().st_size
    except (OSError, EOFError, zlib.error) as error:
        return None, [
            finding("FILE_CORRUPT", f"the file cannot be read ({type(error).__name__}); get a new copy of it.")
        ]
    if size > limits.file_bytes:
        message = f"the file has {size} bytes, more than the limit file_bytes={limits.file_bytes}."
        return None, [finding("LIMIT_EXCEEDED", message)]
    suffix = image_suffix(path)
    try:
        if suffix in (".nii", ".nii.gz"):
            return _nifti(head, size, suffix == ".nii.gz", limits)
        fields = _fields(head, ":" if suffix == ".nrrd" else "=")
        return _nrrd(fields, limits) if suffix == ".nrrd" else _meta_image(fields, limits)
    except Exception:  # nibabel and numpy raise anything for a damaged header, and their messages may quote it
        return None, [finding("FILE_CORRUPT", "the file's header cannot be understood; get a new copy of it.")]


def _head(path: Path) -> bytes:
    with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as file:
        head: bytes = file.read(_HEADER_BYTES)
    return head


def _nifti(head: bytes, size: int, zipped: bool, limits: Limits) -> tuple[FileVolume | None, list[Finding]]:
    """NIfTI-1 and NIfTI-2 headers (nifti1.h, nifti2.h)."""
    header = nifti_header(head)
    dims = [int(value) for value in header["dim"]]
    shape = dims[1 : 1 + dims[0]]
    if not 1 <= dims[0] <= 7 or any(value < 1 for value in shape):
        return None, [finding("FILE_CORRUPT", "the header's dimensions are impossible; get a new copy of the file.")]
    claimed = math.prod(shape) * max(1, int(header["bitpix"]) // 8)
    if claimed > limits.volume_bytes or (zipped and not limits.may_expand(claimed, size)):
        return None, [
            finding("LIMIT_EXCEEDED", f"the header of a file of {size} bytes claims {claimed} bytes of voxels.")
        ]
    findings = [] if zipped or claimed <= size else [_short(claimed, size)]
    volumes = math.prod(shape[3:])
    if volumes > 1:
        findings.append(_volumes(volumes))
    kind = np.dtype(header.get_data_dtype())
    if kind.kind == "c":
        message = "voxels are complex numbers, of which readers drop a part; save the magnitude."
        findings.append(finding("VALUES_COMPLEX", message))
    elif kind.fields is not None:
        findings.append(finding("IMAGE_NOT_GRAYSCALE", "each voxel holds a colour; save one file a channel."))
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        findings.append(finding("SCALING_INVALID", "scl_slope or scl_inter is not a finite number; mend the file."))
    elif slope not in (0.0, 1.0) or (slope == 1.0 and intercept != 0.0):
        findings.append(finding("SCALING_APPLIED", f"values are scaled by {slope:g} and shifted by {intercept:g}."))
    affine, own = _nifti_affine(header, shape)
    findings.extend(own)
    return _placed(affine, shape, findings)


def _nifti_affine(known: Any, shape: list[int]) -> tuple[Matrix | None, list[Finding]]:
    sform = known.get_sform() if int(known["sform_code"]) > 0 else None
    qform = None
    if int(known["qform_code"]) > 0:
        if not np.all(np.asarray(known["pixdim"][1:4]) > 0):
            return None, [finding("AFFINE_SINGULAR", "pixdim is not above 0; mend the file.")]
        qform = known.get_qform()
    if sform is None and qform is None:
        return None, [
            finding("AFFINE_MISSING", "sform_code and qform_code are both 0; the file has no place in space.")
        ]
    if sform is not None and qform is not None and not _is_singular(sform):
        extent = [1 if axis >= len(shape) else shape[axis] for axis in range(3)]
        corners = np.array(
            [[*(i * (n - 1) for i, n in zip(bits, extent, strict=True)), 1] for bits in np.ndindex(2, 2, 2)]
        )
        apart = np.abs(np.linalg.solve(sform, (qform - sform) @ corners.T))[:3].max()
        if apart > _CORNER_VOXELS:
            message = f"sform and qform differ by {apart:.3g} voxels at a corner; set both to the right one."
            return None, [finding("AFFINE_CONFLICT", message)]
    if sform is not None and not _is_singular(sform):
        said, scaled = np.asarray(known["pixdim"][1:4], dtype=np.float64), np.linalg.norm(sform[:3, :3], axis=0)
        axes = min(len(shape), 3)
        if np.any(np.abs(scaled - said)[:axes] > _PIXDIM_TOLERANCE * scaled[:axes]):
            sizes = " x ".join(f"{n:.4g}" for n in scaled), " x ".join(f"{n:.4g}" for n in said)
            message = f"the sform has voxels of {sizes[0]} mm, pixdim says {sizes[1]}, and readers differ; set both to the right one."
            return None, [finding("AFFINE_CONFLICT", message)]
    affine = np.asarray(qform if sform is None else sform, dtype=np.float64).copy()
    scale = _MM_PER_UNIT.get(int(known["xyzt_units"]) & 7, 1.0)
    affine[:3] *= scale
    note = [finding("UNITS_NOT_MM", f"lengths are multiplied by {scale:g} to be in mm.")] if scale != 1.0 else []
    return swap_ras_lps(affine), note


def _fields(head: bytes, separator: str) -> dict[str, str]:
    """Keys and values of the text header; NRRD's ends with an empty line, MetaImage's with ElementDataFile."""
    fields: dict[str, str] = {}
    for line in head.decode("latin-1").splitlines():
        if not line.strip() and separator == ":":
            break
        key, found, value = line.partition(separator)
        if found:
            fields[key.strip().lower()] = value.strip().lstrip("=")
        if key.strip() == "ElementDataFile":
            break
    return fields


def _nrrd(fields: Mapping[str, str], limits: Limits) -> tuple[FileVolume | None, list[Finding]]:
    shape = [int(value) for value in fields["sizes"].split()]
    kind = fields.get("type", "").removesuffix("_t").split(" ")[-1]
    width = int(found[1]) // 8 if (found := re.fullmatch(r"u?int(8|16|32|64)", kind)) else _BYTES.get(kind, 8)
    if (excess := _claim(shape, width, limits)) is not None:
        return None, [excess]
    units = nrrd_units("\n".join(f"{key}: {value}" for key, value in fields.items()).encode("latin-1"))
    if units - {"mm", ""}:
        message = (
            f"space units are {', '.join(sorted(units))}, which readers take for mm; convert directions and origin."
        )
        return None, [finding("UNITS_NOT_MM", message, policy=Policy.REJECT)]
    if fields.get("space dimension") == "2" or len(shape) == 2:
        spatial = sum(part != "none" for part in re.findall(r"none|\([^)]*\)", fields.get("space directions", ""))) or 2
        channels = math.prod(shape[: len(shape) - spatial])
        return None, [_volumes(channels)] if channels > 1 else []  # a picture, which has no place in space
    if "space directions" not in fields or "space origin" not in fields or "space" not in fields:
        message = "the file has no space, space directions and space origin; it has no place in space."
        return None, [finding("AFFINE_MISSING", message)]
    vectors = [
        None if part == "none" else [float(value) for value in part.strip("()").split(",")]
        for part in re.findall(r"none|\([^)]*\)", fields["space directions"])
    ]
    spatial = [axis for axis, vector in enumerate(vectors) if vector is not None]
    signs = _NRRD_SPACES[fields["space"].lower()]
    affine = np.eye(4)
    for column, axis in enumerate(spatial[:3]):
        affine[:3, column] = vectors[axis] or 0.0
    affine[:3, 3] = [float(value) for value in fields["space origin"].strip("()").split(",")]
    affine[:3] *= np.reshape(signs, (3, 1))
    findings = []
    if signs != (1, 1, 1):
        findings.append(finding("SPACE_CONVERTED", "directions and origin are converted to left-posterior-superior."))
    others = math.prod(n for axis, n in enumerate(shape) if axis not in spatial)
    if others > 1:
        findings.append(_volumes(others))
    return _placed(affine, [shape[axis] for axis in spatial], findings)


def _meta_image(fields: Mapping[str, str], limits: Limits) -> tuple[FileVolume | None, list[Finding]]:
    shape = [int(value) for value in fields["dimsize"].split()]
    width = _BYTES.get(fields.get("elementtype", "").removeprefix("MET_").lower(), 8)
    if (excess := _claim(shape, width, limits)) is not None:
        return None, [excess]
    channels = int(fields.get("elementnumberofchannels", "1"))
    of_channels = [_volumes(channels)] if channels > 1 else []
    if len(shape) == 2:
        return None, of_channels  # a picture, which has no place in space
    matrix = fields.get("transformmatrix") or fields.get("rotation") or fields.get("orientation")
    origin = fields.get("offset") or fields.get("position") or fields.get("origin")
    if matrix is None or origin is None or "elementspacing" not in fields:
        message = "TransformMatrix, Offset or ElementSpacing is missing; the file has no place in space."
        return None, [finding("AFFINE_MISSING", message)]
    dims = len(shape)
    directions = np.array([float(value) for value in matrix.split()]).reshape(dims, dims).T
    spacing = np.array([float(value) for value in fields["elementspacing"].split()])
    affine = np.eye(4)
    affine[:3, :3] = (directions * spacing)[:3, :3]
    affine[:3, 3] = [float(value) for value in origin.split()][:3]
    findings = [_volumes(math.prod(shape[3:]))] if math.prod(shape[3:]) > 1 else []
    return _placed(affine, shape, [*findings, *of_channels])


def _claim(shape: list[int], width: int, limits: Limits) -> Finding | None:
    if not shape or any(value < 1 for value in shape):
        return finding("FILE_CORRUPT", "the header's dimensions are impossible; get a new copy of the file.")
    claimed = math.prod(shape) * width
    if claimed > limits.volume_bytes:
        return finding("LIMIT_EXCEEDED", f"the header claims {claimed} bytes of voxels.")
    return None


def _placed(
    affine: Matrix | None, shape: list[int], findings: list[Finding]
) -> tuple[FileVolume | None, list[Finding]]:
    if affine is None:
        return None, findings
    if _is_singular(affine):
        return None, [
            *findings,
            finding("AFFINE_SINGULAR", "the affine has no inverse, an axis has no length; mend the file."),
        ]
    axes = affine[:3, :3]
    shear = max(abs(90 - angle_degrees(axes[:, first], axes[:, second])) for first, second in ((0, 1), (0, 2), (1, 2)))
    if shear > _SHEAR_DEGREES:
        findings = [*findings, finding("AFFINE_SHEARED", f"the axes are sheared by {shear:.2f} degrees.")]
    size = [*shape, 1, 1][:3]
    return FileVolume((size[0], size[1], size[2]), affine), findings


def _is_singular(affine: Matrix) -> bool:
    axes = affine[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    return bool(not np.isfinite(affine).all() or lengths.min() <= 0 or abs(np.linalg.det(axes / lengths)) < 1e-6)


def _volumes(count: int) -> Finding:
    return finding("VOLUME_MULTIPLE", f"the file holds {count} volumes; give them one by one.", count)


def _short(claimed: int, size: int) -> Finding:
    return finding("FILE_TRUNCATED", f"the header claims {claimed} bytes of voxels, the file has {size} bytes in all.")
