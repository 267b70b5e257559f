"""Means count real tokens only, and parts of a batch add up to the whole."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alignment.masked import masked_mean, masked_variance, zero_padding

MASK = torch.tensor([[True, True, True], [True, False, False]])
NAN, INF = float("nan"), float("inf")


def mask_of(lengths: list[int]) -> Tensor:
    return torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]


def test_tokens_count_alike() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [10.0, NAN, INF]])
    # Four tokens: (1 + 2 + 3 + 10) / 4.
    assert float(masked_mean(x, MASK)) == pytest.approx(4.0)


def test_variance_is_the_populations() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [10.0, NAN, INF]])
    # Mean 4; squared distances 9, 4, 1, 36.
    assert float(masked_variance(x, MASK)) == pytest.approx(12.5)


def test_padding_gets_no_gradient_whatever_it_holds() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [10.0, NAN, INF]], requires_grad=True)
    masked_mean(x, MASK).backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.tensor([[0.25] * 3, [0.25, 0.0, 0.0]]))


def test_zeros_take_the_place_of_padding() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, NAN, -INF]])
    assert zero_padding(x, MASK).tolist() == [[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]]


def test_nothing_has_no_mean() -> None:
    with pytest.raises(ValueError, match="no token"):
        masked_mean(torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.bool))


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=2, max_size=8),
    cut=st.integers(1, 7),
    seed=st.integers(0, 99),
)
def test_parts_weighed_by_their_tokens_add_up_to_the_whole(
    lengths: list[int], cut: int, seed: int
) -> None:
    mask = mask_of(lengths)
    x = torch.randn(mask.shape, generator=torch.Generator().manual_seed(seed))
    rows = [slice(0, min(cut, len(lengths) - 1)), slice(min(cut, len(lengths) - 1), None)]
    parts = sum(
        float(mask[part].sum() / mask.sum()) * float(masked_mean(x[part], mask[part]))
        for part in rows
    )
    assert parts == pytest.approx(float(masked_mean(x, mask)), abs=1e-5)
