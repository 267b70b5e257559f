import math
from collections import Counter

import pytest
import torch

from server.engine.hf_sampling import RowSampler
from server.engine.protocol import Sampling

PROBS = torch.tensor([0.5, 0.3, 0.15, 0.05])
END = 3
WHOLE = Sampling(temperature=1.0, top_p=1.0)


def sampler(
    seeds: list[int], sampling: Sampling, *, limit: int = 100, end: set[int] | None = None
) -> RowSampler:
    return RowSampler(seeds, [limit] * len(seeds), sampling, {END} if end is None else end)


def first_tokens(sampling: Sampling, draws: int = 4000) -> dict[int, float]:
    rows = sampler(list(range(draws)), sampling)
    picked = rows.pick(PROBS.log().expand(draws, -1)).tolist()
    return {token: count / draws for token, count in Counter(picked).items()}


def test_tokens_are_drawn_by_their_probabilities() -> None:
    for token, share in first_tokens(WHOLE).items():
        assert share == pytest.approx(float(PROBS[token]), abs=0.03)


def test_the_nucleus_keeps_the_token_that_reaches_the_mass_and_no_more() -> None:
    shares = first_tokens(Sampling(temperature=1.0, top_p=0.7))
    assert set(shares) == {0, 1}
    assert shares[0] == pytest.approx(0.5 / 0.8, abs=0.03)


def test_temperature_sharpens() -> None:
    squared = PROBS**2 / (PROBS**2).sum()
    shares = first_tokens(Sampling(temperature=0.5, top_p=1.0))
    assert shares[0] == pytest.approx(float(squared[0]), abs=0.03)


def test_temperature_0_takes_the_likeliest() -> None:
    assert first_tokens(Sampling(temperature=0.0), draws=5) == {0: 1.0}


def test_a_rows_draws_do_not_depend_on_its_company() -> None:
    logits = PROBS.log()
    together = sampler([1, 2, 3], WHOLE, end=set())
    alone = sampler([2], WHOLE, end=set())
    for _ in range(20):
        together.pick(logits.expand(3, -1))
        alone.pick(logits[None])
    assert together.drawn()[1] == alone.drawn()[0]
    assert len({row.token_ids for row in together.drawn()}) == 3


def test_a_row_ends_at_its_end_token_or_at_its_limit() -> None:
    rows = RowSampler([0, 0], [5, 2], Sampling(temperature=0.0), {END})
    likeliest = [[0, 0], [1, 1], [END, 2], [2, 2]]
    for tokens in likeliest:
        picked = rows.pick(torch.eye(4)[tokens])
    assert picked.tolist() == [END, END], "what has ended is held at the end"
    ended, cut = rows.drawn()
    assert (ended.token_ids, ended.has_end) == ((0, 1), True)
    assert (cut.token_ids, cut.has_end) == ((0, 1), False)
    assert rows.is_done


def test_one_row_of_many_can_be_written_by_itself() -> None:
    rows = sampler([5, 6], WHOLE, limit=3, end=set())
    second = rows.row(1)
    while not second.is_done:
        second.pick(PROBS.log()[None])
    assert not rows.is_done
    first, written = rows.drawn()
    assert (len(first.token_ids), len(written.token_ids)) == (0, 3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_row_without_usable_probabilities_is_marked(bad: float) -> None:
    rows = sampler([0, 1], WHOLE)
    logits = torch.stack([PROBS.log(), torch.full((4,), bad)])
    rows.pick(logits)
    assert [row.is_broken for row in rows.drawn()] == [False, True]


def test_all_tokens_but_the_picked_one_are_ruled_out_for_generate() -> None:
    rows = sampler([1], WHOLE)
    scores = rows.as_logits_processor()(torch.zeros((1, 1)), PROBS.log()[None])
    (token,) = rows.drawn()[0].token_ids or (END,)
    assert int(scores.argmax()) == token
    assert int(torch.isfinite(scores).sum()) == 1
