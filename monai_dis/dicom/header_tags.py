"""The elements of a header that the checks use; everything else stays on disk until a result is written."""

from __future__ import annotations

__all__ = ["DISCRIMINATORS", "HEADER_TAGS", "PRIVATE_DISCRIMINATORS", "TIME_DISCRIMINATORS"]

#: Attributes that tell volumes at the same positions apart, by keyword (I10).
DISCRIMINATORS: dict[str, int] = {
    "EchoTime": 0x00180081,
    "EchoNumbers": 0x00180086,
    "InversionTime": 0x00180082,
    "FlipAngle": 0x00181314,
    "DiffusionBValue": 0x00189087,
    "DiffusionGradientOrientation": 0x00189089,
    "TemporalPositionIdentifier": 0x00200100,
    "TriggerTime": 0x00181060,
    "AcquisitionNumber": 0x00200012,
    "ContrastBolusAgent": 0x00180010,
    "KVP": 0x00180060,
    "ConvolutionKernel": 0x00181210,
    "ImageType": 0x00080008,
}

#: The same for values that may differ from slice to slice of one volume.
TIME_DISCRIMINATORS: dict[str, int] = {
    "AcquisitionDateTime": 0x0008002A,
    "AcquisitionTime": 0x00080032,
    "ContentTime": 0x00080033,
    "FrameReferenceTime": 0x00541300,
}

#: B-values of vendors that do not use DiffusionBValue: Siemens, GE, Philips.
PRIVATE_DISCRIMINATORS: dict[str, int] = {
    "private b-value (0019,100C)": 0x0019100C,
    "private b-value (0043,1039)": 0x00431039,
    "private b-value (2001,1003)": 0x20011003,
}

_IDENTITY = [
    0x00080005, 0x00080016, 0x00080018, 0x00080050, 0x00080060, 0x00080064, 0x00080080, 0x00080090, 0x00081030, 0x0008103E,
    0x00181030, 0x00100010, 0x00100020, 0x00100030, 0x00100021, 0x00180015, 0x0020000D, 0x0020000E, 0x00200010, 0x00200011,
    0x00200013, 0x00082218, 0x00041220,
]  # fmt: skip
_PLANE = [0x00181120, 0x00200032, 0x00200037, 0x00200052, 0x00280030, 0x00180050]
_PIXELS = [
    0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280120,
    0x00280121, 0x00280301, 0x00282110, 0x00281052, 0x00281053, 0x00281054, 0x00283000,
]  # fmt: skip
_GROUPS = [0x52009229, 0x52009230]

#: Tags of all of them, sorted, as pydicom's readers take them.
HEADER_TAGS: list[int] = sorted(
    {
        *DISCRIMINATORS.values(),
        *TIME_DISCRIMINATORS.values(),
        *PRIVATE_DISCRIMINATORS.values(),
        *_IDENTITY,
        *_PLANE,
        *_PIXELS,
        *_GROUPS,
    }
)
