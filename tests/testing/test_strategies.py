"""What the strategies promise to those who build tests on them."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_dis.inferers import Budget
from monai_dis.testing.networks import FixedConv
from monai_dis.testing.strategies import Case, affines, budgets, cases, spatial_sizes


@given(dims=st.integers(1, 3), data=st.data())
def test_sizes_are_bounded(dims: int, data: st.DataObject) -> None:
    size = data.draw(spatial_sizes(dims, smallest=2))

    assert len(size) == dims
    assert all(2 <= n <= 70 for n in size)


@given(case=cases())
def test_cases_fit_together(case: Case) -> None:
    assert case.dims in (2, 3)
    assert len(case.roi_size) == case.dims
    assert 1 <= case.image.shape[0] <= 3
    assert 1 <= case.classes <= 5


@given(budget=budgets())
def test_budgets_are_valid(budget: Budget) -> None:
    assert Budget.of({"windows": budget.windows, "coverage": budget.coverage}).windows == budget.windows


@given(dims=st.sampled_from([2, 3]), data=st.data())
def test_affines_can_be_inverted(dims: int, data: st.DataObject) -> None:
    matrix = data.draw(affines(dims))

    torch.testing.assert_close(matrix @ matrix.inverse(), torch.eye(dims + 1, dtype=torch.float64), rtol=0, atol=1e-6)


def test_a_symmetric_convolution_commutes_with_flips() -> None:
    network, image = FixedConv(2, 2, 3, symmetric=True), torch.randn(1, 2, 9, 9)

    torch.testing.assert_close(network(image.flip(2)), network(image).flip(2))
    torch.testing.assert_close(network(image.transpose(2, 3)), network(image).transpose(2, 3))
