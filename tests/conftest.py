"""Settings of all tests: fixed seeds, and as many property examples as the time allows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, settings

# Networks run inside properties, so a single example has no deadline; `derandomize` makes every run the same run.
settings.register_profile(
    "monai_dis", max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("monai_dis")


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)
