"""Parts add up to the reward, what can't be learnt from is refused, and scores land on the end."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alignment.experience import Sampled
from alignment.prompts import AlignmentPrompt
from alignment.responses.protocol import NO_ANSWER, Classification
from alignment.reward import RewardBatch, RewardSpec, Term, UnusableRewardError, shaped_rewards

NAN, INF = float("nan"), float("inf")
ASKED = AlignmentPrompt("a", "Is it safe?", "p0", right="unsafe", unsafe_answer="no")
OPEN = AlignmentPrompt("b", "What is this?", "p1")
SURE = Classification(safe=0.1, unsafe=0.9, no_answer=0.0)
BATCH = RewardBatch((ASKED, OPEN), ("No.", "A dog."), (SURE, None), (3, 4), (True, False), 8)


def letters(batch: RewardBatch, *, each: float = 1.0) -> Tensor:
    return torch.tensor([each * len(text) for text in batch.texts])


def ended(batch: RewardBatch) -> Tensor:
    return torch.tensor(batch.has_end)


def test_weighted_parts_add_up_to_the_scores() -> None:
    spec = RewardSpec((Term("letters", letters, 2.0, {"each": 0.5}), Term("ended", ended, -1.0)))
    scored = spec.score(BATCH)
    assert scored.parts["letters"].tolist() == [3.0, 6.0]
    assert scored.parts["ended"].tolist() == [-1.0, 0.0]
    assert scored.scores_B.tolist() == [2.0, 6.0]


def test_a_reward_describes_itself_for_the_record() -> None:
    described = RewardSpec((Term("letters", letters, 2.0, {"each": 0.5}),)).describe()
    function = f"{letters.__module__}.letters"
    assert described == {"letters": {"function": function, "weight": 2.0, "each": 0.5}}


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda batch: torch.tensor([1.0, NAN]), "is not finite"),
        (lambda batch: torch.tensor([1.0, INF]), "is not finite"),
        (lambda batch: torch.ones(3), r"has shape \(3,\) for 2 answers"),
        (lambda batch: torch.ones(2, 1), r"has shape \(2, 1\) for 2 answers"),
    ],
)
def test_an_unusable_part_is_named(function: Callable[[RewardBatch], Tensor], reason: str) -> None:
    with pytest.raises(UnusableRewardError, match=f"'mine' {reason}") as raised:
        RewardSpec((Term("mine", function),)).score(BATCH)
    assert raised.value.term == "mine"


@pytest.mark.parametrize("terms", [(), (Term("x", letters), Term("x", ended))])
def test_terms_have_names_of_their_own(terms: tuple[Term, ...]) -> None:
    with pytest.raises(ValueError, match="each with its own name"):
        RewardSpec(terms)


@pytest.mark.parametrize(
    ("classifications", "texts"),
    [
        ((SURE,), ("No.", "A dog.")),
        ((SURE, None), ("No.",)),
        # Judged without a right answer; not judged at all.
        ((SURE, NO_ANSWER), ("No.", "A dog.")),
        ((None, None), ("No.", "A dog.")),
    ],
)
def test_a_batch_that_does_not_fit_together_is_refused(
    classifications: tuple[Classification | None, ...], texts: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match=r"one entry an answer|judged"):
        RewardBatch((ASKED, OPEN), texts, classifications, (3, 4), (True, False), 8)


def test_a_batch_takes_lengths_and_ends_from_what_was_sampled() -> None:
    sampled = Sampled(
        prompts=(ASKED, OPEN),
        answer_ids_BA=torch.zeros(2, 4, dtype=torch.long),
        mask_BA=torch.tensor([[True, True, True, False], [True] * 4]),
        has_end_B=torch.tensor([True, False]),
        sampler_logprobs_BA=torch.zeros(2, 4),
        texts=("No.", "A dog."),
    )
    assert RewardBatch.of(sampled, [SURE, None], max_tokens=8) == BATCH


def test_shaped_rewards_equal_the_table() -> None:
    # KL costs 0.5 a nat at every token; the score comes with the last.
    shaped = shaped_rewards(
        torch.tensor([1.0, -2.0]),
        torch.tensor([[0.2, 0.4, 0.0], [0.6, NAN, INF]]),
        torch.tensor([[True, True, True], [True, False, False]]),
        kl_coef=0.5,
    )
    torch.testing.assert_close(shaped, torch.tensor([[-0.1, -0.2, 1.0], [-2.3, 0.0, 0.0]]))


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    seed=st.integers(0, 999),
    coef=st.floats(0.0, 2.0),
)
def test_an_answers_tokens_earn_its_score_less_its_kl(
    lengths: list[int], seed: int, coef: float
) -> None:
    mask = torch.arange(7)[None, :] < torch.tensor(lengths)[:, None]
    dice = torch.Generator().manual_seed(seed)
    scores, kl = torch.randn(len(lengths), generator=dice), torch.rand(mask.shape, generator=dice)
    clean = shaped_rewards(scores, kl, mask, kl_coef=coef)
    assert torch.equal(
        clean, shaped_rewards(scores, kl.masked_fill(~mask, NAN), mask, kl_coef=coef)
    )
    torch.testing.assert_close(clean.sum(1), scores - coef * (kl * mask).sum(1))


def test_an_answer_without_a_token_cannot_be_rewarded() -> None:
    with pytest.raises(ValueError, match="no token"):
        shaped_rewards(
            torch.ones(2),
            torch.zeros(2, 1),
            torch.tensor([[True], [False]]),
            kl_coef=0.1,
        )
