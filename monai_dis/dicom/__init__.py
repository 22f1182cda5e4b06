"""DICOM in, DICOM out: strict reading of studies, findings with stable codes, segmentations and measurements as DICOM objects.

Needs the extra ``dicom`` (pydicom, highdicom), which is imported when it is first used.
"""
