"""Means count real tokens only, and parts of a batch add up to the whole."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alignment.masked import (
    Averaging,
    masked_mean,
    masked_variance,
    share_of,
    token_weights,
    zero_padding,
)

MASK = torch.tensor([[True, True, True], [True, False, False]])
NAN, INF = float("nan"), float("inf")


def mask_of(lengths: list[int]) -> Tensor:
    return torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]


def test_tokens_or_answers_count_alike() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [10.0, NAN, INF]])
    # Four tokens: (1 + 2 + 3 + 10) / 4. Two answers: ((1 + 2 + 3) / 3 + 10) / 2.
    assert float(masked_mean(x, MASK)) == pytest.approx(4.0)
    assert float(masked_mean(x, MASK, "answer")) == pytest.approx(6.0)


def test_variance_is_the_populations() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [10.0, NAN, INF]])
    # Mean 4; squared distances 9, 4, 1, 36.
    assert float(masked_variance(x, MASK)) == pytest.approx(12.5)


def test_padding_gets_no_gradient_whatever_it_holds() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [10.0, NAN, INF]], requires_grad=True)
    masked_mean(x, MASK, "answer").backward()
    sixth, half = 1 / 6, 1 / 2
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.tensor([[sixth] * 3, [half, 0.0, 0.0]]))


def test_zeros_take_the_place_of_padding() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, NAN, -INF]])
    assert zero_padding(x, MASK).tolist() == [[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]]


@pytest.mark.parametrize("averaging", ["token", "answer"])
def test_nothing_has_no_mean(averaging: Averaging) -> None:
    with pytest.raises(ValueError, match="no token"):
        masked_mean(torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.bool), averaging)


def test_an_answer_without_tokens_weighs_nothing() -> None:
    mask = torch.tensor([[True, True], [False, False]])
    assert token_weights(mask, "answer").tolist() == [[0.5, 0.5], [0.0, 0.0]]


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=2, max_size=8),
    cut=st.integers(1, 7),
    averaging=st.sampled_from(["token", "answer"]),
    seed=st.integers(0, 99),
)
def test_parts_weighed_by_their_share_add_up_to_the_whole(
    lengths: list[int], cut: int, averaging: Averaging, seed: int
) -> None:
    mask = mask_of(lengths)
    x = torch.randn(mask.shape, generator=torch.Generator().manual_seed(seed))
    rows = [slice(0, min(cut, len(lengths) - 1)), slice(min(cut, len(lengths) - 1), None)]
    parts = sum(
        share_of(mask[part], mask, averaging) * float(masked_mean(x[part], mask[part], averaging))
        for part in rows
    )
    assert parts == pytest.approx(float(masked_mean(x, mask, averaging)), abs=1e-5)
    assert float(token_weights(mask, averaging).sum()) == pytest.approx(1.0)
