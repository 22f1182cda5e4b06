"""Fixtures of the reading desk: small bundles whose answers are known."""

from small_bundle import photo, tiny_bundle

try:
    from dicom_study import overlapping_bundle, volume_bundle
except ImportError:  # the extra `dicom` is not there; tests that need it are skipped
    __all__ = ["photo", "tiny_bundle"]
else:
    __all__ = ["overlapping_bundle", "photo", "tiny_bundle", "volume_bundle"]
