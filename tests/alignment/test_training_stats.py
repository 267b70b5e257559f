"""What is logged equals small tables, and what can't be said is None."""

import math

import pytest
import torch

from alignment.responses.protocol import NO_ANSWER, Classification
from alignment.training_stats import (
    explained_variance,
    length_stats,
    outcome_rates,
    sampler_mismatch,
)

NAN = float("nan")
MASK = torch.tensor([[True, True], [True, False]])
RETURNS = torch.tensor([[1.0, 2.0], [3.0, NAN]])


@pytest.mark.parametrize(
    ("values", "explained"),
    [
        ([1.0, 2.0, 3.0], 1.0),
        # A constant error is foreseen: only the spread is explained.
        ([11.0, 12.0, 13.0], 1.0),
        ([5.0, 5.0, 5.0], 0.0),
        # R - V = -2, 0, 2: variance 8/3 against 2/3.
        ([3.0, 2.0, 1.0], -3.0),
    ],
)
def test_explained_variance_equals_the_table(values: list[float], explained: float) -> None:
    values_ba = torch.tensor([[values[0], values[1]], [values[2], 99.0]])
    assert explained_variance(values_ba, RETURNS, MASK) == pytest.approx(explained, abs=1e-6)


def test_equal_returns_leave_nothing_to_explain() -> None:
    nearly = torch.tensor([[0.3, 0.1 + 0.2], [0.3000000119, NAN]])
    for returns in (torch.full((2, 2), 0.1), nearly):
        assert explained_variance(torch.randn(2, 2), returns, MASK) is None


def test_a_mismatch_of_sampler_and_trainer_is_measured_on_real_tokens() -> None:
    sampler = torch.tensor([[0.5, 0.5], [0.2, NAN]]).log()
    trainer = torch.tensor([[0.5, 0.25], [0.4, 1.0]]).log()
    found = sampler_mismatch(sampler, trainer, MASK)
    # Log-ratios 0, ln 2, -ln 2; k3: 0, 1/2 - 1 + ln 2, 2 - 1 - ln 2.
    assert found.mean_abs == pytest.approx(2 * math.log(2) / 3)
    assert found.max_abs == pytest.approx(math.log(2))
    assert found.kl == pytest.approx(0.5 / 3)


def test_lengths_and_missing_ends_are_counted() -> None:
    found = length_stats(MASK, torch.tensor([False, True]))
    assert found == (1.5, 2, 0.5)


def test_no_answer_is_an_outcome_of_its_own() -> None:
    safe = Classification(safe=0.6, unsafe=0.3, no_answer=0.1)
    unsafe = Classification(safe=0.1, unsafe=0.9, no_answer=0.0)
    rates = outcome_rates([safe, None, NO_ANSWER, unsafe, unsafe])
    assert rates == (0.25, 0.5, 0.25)
    assert outcome_rates([None, None]) is None
