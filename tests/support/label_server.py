"""What tests of a real MONAI Label server need besides the server."""

from __future__ import annotations

import importlib.util

import pytest

from monai_dis.testing.label_server import Running, label_server

__all__ = ["Running", "label_server", "needs_label"]

needs_label = pytest.mark.skipif(
    importlib.util.find_spec("monailabel") is None,
    reason="MONAI Label is not installed: it needs numpy 1 (extra `label`, .ci/constraints-b.txt)",
)
