"""Input cases I20 to I22, I24 and I25: ways in, broken and hostile files, character sets, sizes."""

from __future__ import annotations

import shutil
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
from dicom_case import BOMB_BYTES, BYTES_PER_MEBIBYTE, JAPANESE_NAME, LATIN1_NAME_BYTES, UTF8_NAME, CaseWriter, case
from dicom_files import PART10_MAGIC_OFFSET, deflate, gzip_bytes, nifti_bytes, rle_frame, write_part10, write_zip
from dicom_objects import ENHANCED_CT_IMAGE, ct_series, delete_elements, enhanced_image, set_encapsulated, stable_uid
from dicom_phantom import LANDMARKS, Grid, landmarks_of, phantom
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)


@case(
    "I20a-dicomdir",
    "INPUT_DICOMDIR",
    "fix",
    "A file set with a DICOMDIR and file names without extension.",
)
def dicomdir(out: CaseWriter) -> None:
    staging = out.folder.with_name(out.name + ".staging")
    shutil.rmtree(staging, ignore_errors=True)
    file_set = FileSet()
    file_set.ID = "PHANTOM"
    file_set.UID = stable_uid(out.name, "file set")
    try:
        for index, ds in enumerate(ct_series(out.identity())):
            path = staging / f"{index:04d}"
            write_part10(path, ds)
            file_set.add(path)
        out.folder.mkdir(parents=True, exist_ok=True)
        file_set.write(out.folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    out.expect_volume(Grid())


def series_as_entries(out: CaseWriter) -> list[tuple[str, bytes]]:
    """Return the control series as (name, file content) pairs."""
    entries = []
    for index, ds in enumerate(ct_series(out.identity())):
        path = out.folder / "image.tmp"
        write_part10(path, ds)
        entries.append((f"STUDY/SERIES/IM{index:04d}", path.read_bytes()))
        path.unlink()
    return entries


@case("I20b-zip", "INPUT_ARCHIVE", "fix", "The series in a ZIP file with folders inside.")
def zip_file(out: CaseWriter) -> None:
    write_zip(out.folder / "study.zip", series_as_entries(out))
    out.expect_volume(Grid())
    out.expect(input=f"{out.name}/study.zip")


@case(
    "I20c-nested-folders",
    None,
    "accept",
    "Slices spread over two subfolders, no file extension.",
)
def nested_folders(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    out.save(series[::2], folder="a/b", suffix="")
    out.save(series[1::2], folder="c", suffix="")
    out.expect_volume(Grid())


@case(
    "I21a-truncated",
    "FILE_TRUNCATED",
    "reject",
    "One slice file cut in the middle of its pixel data.",
)
def truncated(out: CaseWriter) -> None:
    path = out.save(ct_series(out.identity()))[11]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 900])


@case(
    "I21b-pixel-length-wrong",
    "FILE_CORRUPT",
    "reject",
    "One slice whose Rows do not fit the length of its pixel data.",
)
def pixel_length_wrong(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    series[11].PixelData = series[11].PixelData[: -2 * series[11].Columns * 4]
    out.save(series)


@case(
    "I21c-foreign-files",
    "FILE_NOT_DICOM",
    "warn",
    "An empty file, a text file and a PNG header beside a complete series.",
)
def foreign_files(out: CaseWriter) -> None:
    out.save(ct_series(out.identity()))
    out.write("empty.dcm", b"")
    out.write("notes.txt", b"phantom notes\n")
    out.write("thumbnail.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 32)
    out.expect_volume(Grid())
    out.expect(checks={"skipped_files": 3})


@case(
    "I21d-no-part10-header",
    "FILE_NO_HEADER",
    "fix",
    "Bare implicit little-endian data sets without preamble and file meta.",
)
def no_part10_header(out: CaseWriter) -> None:
    for path in out.save(ct_series(out.identity()), ImplicitVRLittleEndian):
        content = path.read_bytes()
        # Preamble, magic, then the group length element (12 bytes) with its value.
        group_length = struct.unpack_from("<I", content, PART10_MAGIC_OFFSET + 12)[0]
        path.write_bytes(content[PART10_MAGIC_OFFSET + 16 + group_length :])
    out.expect_volume(Grid())


@case(
    "I21e-header-garbage",
    "FILE_CORRUPT",
    "reject",
    "One slice file with bytes overwritten inside its header.",
)
def header_garbage(out: CaseWriter) -> None:
    path = out.save(ct_series(out.identity()))[11]
    content = bytearray(path.read_bytes())
    start = content.index(b"\x28\x00\x10\x00US")  # Rows
    content[start : start + 24] = b"\xff" * 24
    path.write_bytes(bytes(content))


@case(
    "I22a-deflate-bomb",
    "LIMIT_EXCEEDED",
    "reject",
    "A deflated data set of about 64 KiB that expands to 64 MiB.",
)
def deflate_bomb(out: CaseWriter) -> None:
    # The bomb is a private OB element of zeros in front of the pixel group.
    path = out.folder / "bomb.dcm"
    write_part10(path, ct_series(out.identity(), Grid(slices=1))[0], DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    group_length = struct.unpack_from("<I", content, PART10_MAGIC_OFFSET + 12)[0]
    start = PART10_MAGIC_OFFSET + 16 + group_length
    plain = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    pixel_element = plain.rindex(b"\xe0\x7f\x10\x00OW")
    creator = struct.pack("<HH2sH", 0x7FDF, 0x0010, b"LO", 8) + b"PHANTOM "
    element = struct.pack("<HH2sHI", 0x7FDF, 0x1001, b"OB", 0, BOMB_BYTES)
    bomb = deflate(plain[:pixel_element], creator, element, b"\0" * BOMB_BYTES, plain[pixel_element:])
    path.write_bytes(content[:start] + bomb)
    out.expect(checks={"expanded_bytes": BOMB_BYTES, "limit_for_test_bytes": 16 * BYTES_PER_MEBIBYTE})


@case(
    "I22b-header-claims-60-gb",
    "LIMIT_EXCEEDED",
    "reject",
    "Rows and Columns 65535, 7 frames, 512 bytes of pixel data.",
)
def header_claim(out: CaseWriter) -> None:
    grid = Grid(slices=7)
    stored = phantom(grid)[None].astype(int) + 1024
    frames = [(0, index) for index in range(grid.slices)]
    ds = enhanced_image(out.identity(), ENHANCED_CT_IMAGE, grid, stored, frames)
    ds.Rows = ds.Columns = 65535
    ds.PixelData = b"\0" * 512
    ds["PixelData"].VR = "OW"
    out.save([ds])
    out.expect(checks={"claimed_bytes": 65535 * 65535 * 7 * 2})


@case(
    "I22c-header-claims-60-gb-rle",
    "LIMIT_EXCEEDED",
    "reject",
    "The same claim with run-length encoded frames of a few bytes.",
)
def header_claim_rle(out: CaseWriter) -> None:
    grid = Grid(slices=7)
    stored = phantom(grid)[None].astype(int) + 1024
    frames = [(0, index) for index in range(grid.slices)]
    ds = enhanced_image(out.identity(), ENHANCED_CT_IMAGE, grid, stored, frames)
    ds.Rows = ds.Columns = 65535
    set_encapsulated(ds, [rle_frame(np.zeros((1, 128)))] * grid.slices)
    out.save([ds], RLELossless)
    out.expect(checks={"claimed_bytes": 65535 * 65535 * 7 * 2})


@case(
    "I22d-element-length-claim",
    "FILE_TRUNCATED",
    "reject",
    "Pixel data element that claims 4 GB in a file of 3 KB.",
)
def element_length_claim(out: CaseWriter) -> None:
    path = out.save(ct_series(out.identity()))[11]
    content = bytearray(path.read_bytes())
    start = content.rindex(b"\xe0\x7f\x10\x00OW")
    struct.pack_into("<I", content, start + 8, 0xFFFFFFFE)
    path.write_bytes(bytes(content))


@case("I22e-nested-sequences", "LIMIT_EXCEEDED", "reject", "3000 sequences nested in each other.")
def nested_sequences(out: CaseWriter) -> None:
    ds = ct_series(out.identity(), Grid(slices=1))[0]
    delete_elements(ds, ("PixelData",))
    path = out.save([ds])[0]
    depth = 3000
    opening = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
    opening += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    closing = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    path.write_bytes(path.read_bytes() + opening * depth + closing * depth)
    out.expect(checks={"depth": depth})


@case(
    "I22f-zip-slip",
    "ARCHIVE_UNSAFE",
    "reject",
    "ZIP entries that climb out of the folder, an absolute one and a link.",
)
def zip_slip(out: CaseWriter) -> None:
    path = out.folder / "study.zip"
    entries = series_as_entries(out)[:2]
    marker = b"this entry must not be written\n"
    write_zip(
        path,
        [
            *entries,
            ("../escaped-parent.txt", marker),
            ("STUDY/../../escaped-nested.txt", marker),
            ("/monai-dis-escaped-absolute.txt", marker),
            ("..\\escaped-backslash.txt", marker),
        ],
    )
    link = zipfile.ZipInfo("STUDY/link", date_time=(1980, 1, 1, 0, 0, 0))
    link.create_system = 3
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "../../outside")
    out.expect(input=f"{out.name}/study.zip", checks={"files_outside_work_folder": 0})


@case(
    "I22g-zip-bomb",
    "LIMIT_EXCEEDED",
    "reject",
    "A ZIP of about 64 KiB whose one entry expands to 64 MiB.",
)
def zip_bomb(out: CaseWriter) -> None:
    write_zip(out.folder / "study.zip", [("IM0001", b"\0" * BOMB_BYTES)])
    out.expect(
        input=f"{out.name}/study.zip",
        checks={"expanded_bytes": BOMB_BYTES, "limit_for_test_bytes": 16 * BYTES_PER_MEBIBYTE},
    )


@case(
    "I22h-preamble-executable",
    "PREAMBLE_SUSPICIOUS",
    "warn",
    "Preambles that start like an executable (magic bytes only).",
)
def preamble_executable(out: CaseWriter) -> None:
    series = ct_series(out.identity())
    magics = (b"MZ", b"\x7fELF", b"#!")
    for number, magic in enumerate(magics):
        preamble = magic.ljust(PART10_MAGIC_OFFSET, b"\0")
        out.save(series[number :: len(magics)], prefix=f"part{number}-", preamble=preamble)
    out.expect_volume(Grid())
    out.expect(checks={"output_preamble": "128 zero bytes"})


@case(
    "I22i-nifti-header-claim",
    "LIMIT_EXCEEDED",
    "reject",
    "NIfTI header of 32767 cubed voxels in a file of 1 KB.",
)
def nifti_header_claim(out: CaseWriter) -> None:
    data = np.zeros((8, 8, 8), np.int16)
    out.write("image.nii", nifti_bytes(data, np.eye(4), np.eye(4), dim=[3, 32767, 32767, 32767]))
    out.expect(input=f"{out.name}/image.nii", checks={"claimed_bytes": 32767**3 * 2})


@case(
    "I22j-gzip-bomb",
    "LIMIT_EXCEEDED",
    "reject",
    "A .nii.gz of about 64 KiB whose header rightly says 64 MiB of voxels.",
)
def gzip_bomb(out: CaseWriter) -> None:
    shape = (512, 512, BOMB_BYTES // (2 * 512 * 512))
    content = nifti_bytes(np.zeros(shape, np.int16), np.eye(4), np.eye(4))
    out.write("image.nii.gz", gzip_bytes(content))
    out.expect(
        input=f"{out.name}/image.nii.gz",
        checks={
            "expanded_bytes": len(content),
            "limit_for_test_bytes": 16 * BYTES_PER_MEBIBYTE,
        },
    )


def named_series(out: CaseWriter, character_set: Any, name: str) -> list[Dataset]:
    """Return the control series with another patient name and character set."""
    series = ct_series(out.identity())
    for ds in series:
        ds.SpecificCharacterSet = character_set
        ds.PatientName = name
    return series


@case("I24a-charset-iso2022", None, "accept", "Japanese name with ISO 2022 IR 87 escapes.")
def charset_iso2022(out: CaseWriter) -> None:
    out.save(named_series(out, ["", "ISO 2022 IR 87"], JAPANESE_NAME))
    out.expect_volume(Grid())
    out.expect(checks={"patient_name": JAPANESE_NAME})


@case("I24b-charset-utf8", None, "accept", "Czech and Greek name in UTF-8 (ISO_IR 192).")
def charset_utf8(out: CaseWriter) -> None:
    out.save(named_series(out, "ISO_IR 192", UTF8_NAME))
    out.expect_volume(Grid())
    out.expect(checks={"patient_name": UTF8_NAME})


@case(
    "I24c-charset-undeclared",
    "CHARSET_INVALID",
    "warn",
    "Latin-1 bytes in the name without SpecificCharacterSet.",
)
def charset_undeclared(out: CaseWriter) -> None:
    placeholder = "Z" * len(LATIN1_NAME_BYTES)
    series = named_series(out, "ISO_IR 100", placeholder)
    for ds in series:
        del ds.SpecificCharacterSet
    for path in out.save(series):
        path.write_bytes(path.read_bytes().replace(placeholder.encode(), LATIN1_NAME_BYTES))
    out.expect_volume(Grid())
    out.expect(checks={"patient_name_bytes_hex": LATIN1_NAME_BYTES.hex()})


@case(
    "I24d-charset-wrong",
    "CHARSET_INVALID",
    "warn",
    "Latin-1 bytes in the name although UTF-8 is declared.",
)
def charset_wrong(out: CaseWriter) -> None:
    placeholder = "Z" * len(LATIN1_NAME_BYTES)
    for path in out.save(named_series(out, "ISO_IR 192", placeholder)):
        path.write_bytes(path.read_bytes().replace(placeholder.encode(), LATIN1_NAME_BYTES))
    out.expect_volume(Grid())
    out.expect(checks={"patient_name_bytes_hex": LATIN1_NAME_BYTES.hex()})


@case("I25a-many-slices", None, "accept", "1200 slices of 28 x 16 pixels, one file each.")
def many_slices(out: CaseWriter) -> None:
    grid = Grid(columns=28, rows=16, slices=1200, step=(0.0, 0.0, 0.5))
    volume = np.full((grid.slices, grid.rows, grid.columns), -1000, np.int16)
    for mark in landmarks_of(grid):
        column, row, plane = mark.index
        volume[plane, row, column] = int(mark.value)
    out.save(ct_series(out.identity(), grid, volume))
    out.expect_volume(grid)


@case(
    "I25b-large-multiframe",
    "SERIES_LARGE",
    "warn",
    "Enhanced CT of 512 x 512 x 600, 300 MiB when decoded, 5 MB on disk.",
)
def large_multiframe(out: CaseWriter) -> None:
    grid = Grid(columns=512, rows=512, slices=600, row_spacing=0.7, column_spacing=0.7, step=(0, 0, 0.5))
    frames = [(0, index) for index in range(grid.slices)]
    tiny = np.zeros((1, grid.slices, 1, 1), int)
    ds = enhanced_image(out.identity(), ENHANCED_CT_IMAGE, grid, tiny, frames)
    ds.Rows, ds.Columns = grid.rows, grid.columns
    background = np.full((grid.rows, grid.columns), 24, np.uint16)
    plain = rle_frame(background)
    encoded = [plain] * grid.slices
    for mark in LANDMARKS:
        column, row, plane = mark.index
        marked = background.copy()
        marked[row, column] = int(mark.value) + 1024
        encoded[plane] = rle_frame(marked)
    set_encapsulated(ds, encoded)
    out.save([ds], RLELossless)
    out.expect_volume(grid)
    out.expect(
        checks={
            "decoded_bytes_int16": grid.rows * grid.columns * grid.slices * 2,
            "peak_memory": "at most the volume in its working type plus a few slices",
        }
    )
