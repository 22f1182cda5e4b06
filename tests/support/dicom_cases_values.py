"""Input cases I13 to I19: stored values, transfer syntaxes, attributes, other objects."""

from __future__ import annotations

import base64
import math

import numpy as np
import pydicom
from dicom_case import PT_BUNDLE, CaseWriter, case
from dicom_files import (
    CODE_STREAMS,
    CODED_COLUMNS,
    CODED_MARK_COLUMN,
    CODED_MARK_ROW,
    CODED_MARK_VALUE,
    CODED_ROWS,
    HTJ2K_LOSSLESS,
    JPEG_EXTENDED_12_BIT,
    JPEG_LOSSLESS_SV1,
    UNREGISTERED_SYNTAX,
    rle_frame,
    write_part10,
)
from dicom_objects import (
    ct_series,
    mr_series,
    pet_series,
    presentation_state,
    secondary_capture,
    segmentation,
    set_encapsulated,
    set_pixels,
    structure_set,
    text_report,
)
from dicom_phantom import Grid, phantom
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)


@case(
    "I13a-rescale-per-slice",
    "RESCALE_PER_SLICE",
    "fix",
    "PET whose RescaleSlope differs in each slice.",
)
def rescale_per_slice(out: CaseWriter) -> None:
    grid = Grid()
    slopes = [0.1 + 0.01 * index for index in range(grid.slices)]
    out.save(pet_series(out.identity(modality="PT"), grid, slopes))
    out.expect_volume(grid, 1000.0)
    out.expect(bundle=PT_BUNDLE, checks={"value_tolerance": 0.2})


@case(
    "I13b-first-slice-positive",
    "RESCALE_PER_SLICE",
    "fix",
    "First slice has positive HU only, the others reach -1000; slopes 1 and 0.5.",
)
def first_slice_positive(out: CaseWriter) -> None:
    grid = Grid()
    volume = phantom(grid)
    volume[0] = np.maximum(volume[0], 5)
    series = ct_series(out.identity(), grid, volume)
    for ds, plane in zip(series[1::2], volume[1::2], strict=False):
        ds.RescaleSlope = "0.5"
        set_pixels(ds, (plane.astype(int) + 1024) * 2, bits_stored=16)
    out.save(series)
    out.expect_volume(grid)
    out.expect(checks={"minimum_value": -1000.0})


@case(
    "I14a-monochrome1",
    "PHOTOMETRIC_MONOCHROME1",
    "warn",
    "CT with MONOCHROME1: display is inverted, HU are not.",
)
def monochrome1(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    for ds in series:
        ds.PhotometricInterpretation = "MONOCHROME1"
        ds.PresentationLUTShape = "INVERSE"
    out.save(series)
    out.expect_volume(Grid())


@case(
    "I14b-signed-12-of-16",
    "PIXEL_BITS",
    "fix",
    "Signed 12-bit values; the four unused high bits hold other data.",
)
def signed_12_of_16(out: CaseWriter) -> None:
    grid = Grid()
    series = ct_series(out.identity(), grid)
    for index, (ds, plane) in enumerate(zip(series, phantom(grid), strict=False)):
        words = (plane.astype(int) & 0x0FFF) | ((index % 3) << 12)
        set_pixels(ds, words.astype(np.uint16).view(np.int16), bits_stored=12, signed=True)
        ds.RescaleIntercept = "0"
    out.save(series)
    out.expect_volume(grid)


@case(
    "I14c-pixel-padding",
    "PIXEL_PADDING",
    "fix",
    "PixelPaddingValue -2000 outside the reconstruction circle.",
)
def pixel_padding(out: CaseWriter) -> None:
    grid = Grid()
    volume = phantom(grid)
    r, c = np.mgrid[: grid.rows, : grid.columns]
    outside = (r - grid.rows / 2) ** 2 + (c - grid.columns / 2) ** 2 > 20**2
    series = ct_series(out.identity(), grid)
    for ds, plane in zip(series, volume, strict=False):
        set_pixels(ds, np.where(outside, -2000, plane), bits_stored=16, signed=True)
        ds.RescaleIntercept = "0"
        ds.PixelPaddingValue = -2000
    out.save(series)
    out.expect_volume(grid)
    out.expect(checks={"minimum_value_after_padding": -1024.0, "padded_pixels": int(outside.sum())})


@case(
    "I14d-photometric-mixed",
    "PHOTOMETRIC_MIXED",
    "reject",
    "MONOCHROME1 and MONOCHROME2 slices in one series.",
)
def photometric_mixed(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    for ds in series[::2]:
        ds.PhotometricInterpretation = "MONOCHROME1"
        ds.PresentationLUTShape = "INVERSE"
    out.save(series)


@case("I15a-implicit-le", None, "accept", "Implicit VR little endian.")
def implicit_le(out: CaseWriter) -> None:
    out.save(ct_series(out.identity()), ImplicitVRLittleEndian)
    out.expect_volume(Grid())


@case("I15b-explicit-be", None, "accept", "Explicit VR big endian (retired).")
def explicit_be(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    for ds in series:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        ds["PixelData"].VR = "OW"
    out.save(series, ExplicitVRBigEndian)
    out.expect_volume(Grid())


@case("I15c-deflated", None, "accept", "Deflated explicit VR little endian.")
def deflated(out: CaseWriter) -> None:
    out.save(ct_series(out.identity()), DeflatedExplicitVRLittleEndian)
    out.expect_volume(Grid())


@case("I15d-rle", None, "accept", "RLE lossless.")
def rle(out: CaseWriter) -> None:
    grid = Grid()
    series = ct_series(out.identity(), grid)
    for ds, plane in zip(series, phantom(grid), strict=False):
        set_encapsulated(ds, [rle_frame(plane.astype(int) + 1024)])
    out.save(series, RLELossless)
    out.expect_volume(grid)


def coded_series(out: CaseWriter, stream: str, transfer_syntax: str, bits: int = 12) -> None:
    """Write four slices that hold the same embedded code stream."""
    grid = Grid(columns=CODED_COLUMNS, rows=CODED_ROWS, slices=4)
    frame = base64.b64decode(CODE_STREAMS[stream])
    series = ct_series(out.identity(), grid, np.zeros((4, CODED_ROWS, CODED_COLUMNS), np.int16))
    for ds in series:
        ds.BitsStored, ds.HighBit = bits, bits - 1
        set_encapsulated(ds, [frame])
    out.save(series, transfer_syntax)
    out.expect_volume(grid)
    mark = (CODED_MARK_COLUMN, CODED_MARK_ROW, 2)
    out.expect(
        landmarks=[
            {
                "name": "C",
                "index_column_row_slice": list(mark),
                "world_lps_mm": grid.world(mark),
                "value": CODED_MARK_VALUE - 1024.0,
            }
        ],
        checks={
            "stored_value": "40 * row + 7 * column; 3000 at row 11, column 5",
            "same_frame_in_every_slice": True,
        },
    )


@case("I15e-jpeg-lossless-sv1", None, "accept", "JPEG lossless, process 14, selection value 1.")
def jpeg_lossless(out: CaseWriter) -> None:
    coded_series(out, "jpeg-lossless-sv1", JPEG_LOSSLESS_SV1)


@case("I15f-jpeg-ls", None, "accept", "JPEG-LS lossless.")
def jpeg_ls(out: CaseWriter) -> None:
    coded_series(out, "jpeg-ls", JPEGLSLossless)


@case("I15g-jpeg-2000", None, "accept", "JPEG 2000 lossless.")
def jpeg_2000(out: CaseWriter) -> None:
    coded_series(out, "jpeg-2000", JPEG2000Lossless)


@case("I15h-htj2k", None, "accept", "High-throughput JPEG 2000 lossless, 16 bits stored.")
def htj2k(out: CaseWriter) -> None:
    coded_series(out, "htj2k", HTJ2K_LOSSLESS, bits=16)


@case("I15i-jpeg-extended-12", "LOSSY_COMPRESSION", "warn", "JPEG extended, 12 bits, lossy.")
def jpeg_extended(out: CaseWriter) -> None:
    coded_series(out, "jpeg-extended-12", JPEG_EXTENDED_12_BIT)
    for path in sorted(out.folder.iterdir()):
        ds = pydicom.dcmread(path)
        ds.LossyImageCompression = "01"
        ds.LossyImageCompressionRatio = "2.5"
        ds.LossyImageCompressionMethod = "ISO_10918_1"
        write_part10(path, ds, JPEG_EXTENDED_12_BIT)
    out.record["checks"]["stored_value_tolerance"] = 8


@case(
    "I15j-transfer-syntax-unknown",
    "TRANSFER_SYNTAX_UNSUPPORTED",
    "reject",
    "A transfer syntax UID that no registry lists.",
)
def transfer_syntax_unknown(out: CaseWriter) -> None:
    coded_series(out, "jpeg-2000", UNREGISTERED_SYNTAX)
    del out.record["volumes"]


@case("I16a-orientation-missing", "ATTRIBUTE_MISSING", "reject", "ImageOrientationPatient absent.")
def orientation_missing(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    for ds in series:
        del ds.ImageOrientationPatient
    out.save(series)


@case("I16b-pixel-spacing-empty", "ATTRIBUTE_MISSING", "reject", "PixelSpacing present but empty.")
def pixel_spacing_empty(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    for ds in series:
        ds.PixelSpacing = None
    out.save(series)


@case(
    "I16c-frame-of-reference-missing",
    "FRAME_OF_REFERENCE_MISSING",
    "warn",
    "FrameOfReferenceUID absent.",
)
def frame_of_reference_missing(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    for ds in series:
        del ds.FrameOfReferenceUID
    out.save(series)
    out.expect_volume(Grid())


@case("I16d-pixel-spacing-zero", "ATTRIBUTE_INVALID", "reject", "PixelSpacing 0\\0.")
def pixel_spacing_zero(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    for ds in series:
        ds.PixelSpacing = ["0", "0"]
    out.save(series)


@case(
    "I16e-frame-of-reference-mixed",
    "FRAME_OF_REFERENCE_MIXED",
    "reject",
    "Two frames of reference in one series.",
)
def frame_of_reference_mixed(out: CaseWriter) -> None:
    first, second = ct_series(out.identity()), ct_series(out.identity(frame=2))
    out.save(first[:12] + second[12:])


@case(
    "I16f-position-missing-once",
    "ATTRIBUTE_MISSING",
    "reject",
    "ImagePositionPatient absent in one slice of 24.",
)
def position_missing_once(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    del series[11].ImagePositionPatient
    out.save(series)


@case(
    "I16g-orientation-not-orthogonal",
    "ATTRIBUTE_INVALID",
    "reject",
    "ImageOrientationPatient whose two directions are 80 degrees apart.",
)
def orientation_not_orthogonal(out: CaseWriter) -> None:
    angle = math.radians(80.0)
    grid = Grid(column_direction=(math.cos(angle), math.sin(angle), 0.0))
    out.save(ct_series(out.identity(), grid))


@case("I17a-modality-wrong", "MODALITY_MISMATCH", "reject", "An MR series for a CT bundle.")
def modality_wrong(out: CaseWriter) -> None:
    out.save(mr_series(out.identity(modality="MR")))


@case(
    "I17b-body-part-wrong",
    "BODY_PART_MISMATCH",
    "warn",
    "A CT of the knee for an abdominal bundle.",
)
def body_part_wrong(out: CaseWriter) -> None:
    out.save(ct_series(out.identity(body_part="KNEE")))
    out.expect_volume(Grid())


@case("I18a-rgb-secondary-capture", "IMAGE_NOT_GRAYSCALE", "reject", "RGB screen captures.")
def rgb_secondary_capture(out: CaseWriter) -> None:
    grid = Grid(slices=3)
    series = []
    for index, plane in enumerate(phantom(grid)):
        ds = secondary_capture(out.identity(), index + 1)
        set_pixels(ds, plane)
        gray = np.clip((plane.astype(int) + 1024) // 10, 0, 255).astype(np.uint8)
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        ds.PixelData = np.repeat(gray[..., None], 3, axis=-1).tobytes()
        ds["PixelData"].VR = "OB"
        series.append(ds)
    out.save(series)


@case(
    "I18b-palette-color",
    "IMAGE_NOT_GRAYSCALE",
    "reject",
    "Palette colour images (a perfusion map).",
)
def palette_color(out: CaseWriter) -> None:
    grid = Grid(slices=3)
    series = []
    for index, plane in enumerate(phantom(grid)):
        ds = secondary_capture(out.identity(), index + 1)
        set_pixels(ds, plane)
        ds.PhotometricInterpretation = "PALETTE COLOR"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        ds.PixelData = np.clip((plane.astype(int) + 1024) // 10, 0, 255).astype(np.uint8).tobytes()
        ds["PixelData"].VR = "OB"
        table = np.arange(256, dtype="<u2") * 257
        for color, values in (("Red", table), ("Green", table[::-1]), ("Blue", table)):
            setattr(ds, f"{color}PaletteColorLookupTableDescriptor", [256, 0, 16])
            setattr(ds, f"{color}PaletteColorLookupTableData", values.tobytes())
        series.append(ds)
    out.save(series)


@case("I18c-burned-in", "BURNED_IN_ANNOTATION", "warn", "BurnedInAnnotation YES in CT slices.")
def burned_in(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    for ds in series:
        ds.BurnedInAnnotation = "YES"
    out.save(series)
    out.expect_volume(Grid())


@case(
    "I18d-secondary-capture",
    "SECONDARY_CAPTURE",
    "reject",
    "Grayscale secondary captures of a CT, without geometry.",
)
def secondary_capture_gray(out: CaseWriter) -> None:
    grid = Grid(slices=3)
    series = []
    for index, plane in enumerate(phantom(grid)):
        ds = secondary_capture(out.identity(), index + 1)
        set_pixels(ds, plane.astype(int) + 1024)
        series.append(ds)
    out.save(series)


@case(
    "I19a-other-objects",
    "OBJECT_SKIPPED",
    "fix",
    "SEG (deflated), RTSTRUCT, PR and SR beside the CT slices.",
)
def other_objects(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    out.save(series)
    write_part10(
        out.folder / "seg.dcm",
        segmentation(out.identity(series=2), series),
        DeflatedExplicitVRLittleEndian,
    )
    write_part10(out.folder / "rtstruct.dcm", structure_set(out.identity(series=3), series))
    write_part10(out.folder / "pr.dcm", presentation_state(out.identity(series=4), series))
    write_part10(out.folder / "sr.dcm", text_report(out.identity(series=5)))
    out.expect_volume(Grid())
    out.expect(checks={"skipped_instances": 4})
