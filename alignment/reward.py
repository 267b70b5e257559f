"""From judged answers to the rewards of their tokens.

A reward function takes a `RewardBatch` and returns one number an answer; a `RewardSpec` adds up
several under names, so that a log shows which of them moved. The functions that ship are in
`alignment.reward_terms`; any function of the same shape can stand beside them. After [S1], section
on PPO: the score enters at the answer's last token, the price of KL at every token.
"""
# Tensor names carry their shapes.
# ruff: noqa: N803, N806, N815

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import torch
from torch import Tensor

from alignment.experience import Sampled
from alignment.masked import zero_padding
from alignment.prompts import AlignmentPrompt
from alignment.responses.protocol import Classification
from server.errors import SightwardError

Option = float | int | str | bool


class UnusableRewardError(SightwardError):
    """The reward term `term` gave something that can't be learnt from; `reason` says what."""

    def __init__(self, term: str, reason: str) -> None:
        super().__init__(f"the reward term {term!r} {reason}")
        self.term = term
        self.reason = reason


@dataclass(frozen=True, slots=True)
class RewardBatch:
    """All that a reward may depend on; one entry an answer everywhere.

    `classifications` are None exactly where the prompt has no right answer. `lengths_tokens` count
    the end token; `has_end` is False for an answer cut at `max_tokens`.

    Raises `ValueError` where entries are missing or don't fit.
    """

    prompts: tuple[AlignmentPrompt, ...]
    texts: tuple[str, ...]
    classifications: tuple[Classification | None, ...]
    lengths_tokens: tuple[int, ...]
    has_end: tuple[bool, ...]
    max_tokens: int

    def __post_init__(self) -> None:
        columns = (self.texts, self.classifications, self.lengths_tokens, self.has_end)
        if any(len(column) != len(self.prompts) for column in columns):
            raise ValueError(f"not one entry an answer: {[len(column) for column in columns]}")
        for prompt, judged in zip(self.prompts, self.classifications, strict=True):
            if (prompt.right is None) != (judged is None):
                raise ValueError(
                    f"prompt {prompt.id}: judged without a right answer, or not judged"
                )

    @classmethod
    def of(
        cls,
        sampled: Sampled,
        classifications: Sequence[Classification | None],
        *,
        max_tokens: int,
    ) -> Self:
        """Take the rollout's side from `sampled`."""
        return cls(
            prompts=sampled.prompts,
            texts=sampled.texts,
            classifications=tuple(classifications),
            lengths_tokens=tuple(int(length) for length in sampled.mask_BA.sum(dim=1)),
            has_end=tuple(bool(ended) for ended in sampled.has_end_B),
            max_tokens=max_tokens,
        )

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def judged(self) -> dict[int, tuple[AlignmentPrompt, Classification]]:
        """The answers to prompts that have a right answer, by their place in the batch."""
        return {
            place: (prompt, judged)
            for place, (prompt, judged) in enumerate(
                zip(self.prompts, self.classifications, strict=True)
            )
            if judged is not None
        }


RewardFunction = Callable[..., Tensor]
"""``f(batch: RewardBatch, **options) -> Tensor``: one finite number an answer, shape (B,)."""


@dataclass(frozen=True, slots=True)
class Term:
    """One named part of a reward: ``weight * function(batch, **options)``."""

    name: str
    function: RewardFunction
    weight: float = 1.0
    options: Mapping[str, Option] = field(default_factory=dict)

    def __call__(self, batch: RewardBatch) -> Tensor:
        """The weighted part, float32 (B,); raises `UnusableRewardError`."""
        values_B = self.function(batch, **self.options).float()
        if values_B.shape != (len(batch),):
            raise UnusableRewardError(
                self.name, f"has shape {tuple(values_B.shape)} for {len(batch)} answers"
            )
        if not bool(values_B.isfinite().all()):
            raise UnusableRewardError(self.name, "is not finite for every answer")
        return self.weight * values_B


class Scored(NamedTuple):
    """The whole reward of each answer, and the weighted parts that add up to it."""

    scores_B: Tensor
    parts: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class RewardSpec:
    """A reward: the sum of its terms. Raises `ValueError` for no terms or a name given twice."""

    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        names = [term.name for term in self.terms]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"a reward needs terms, each with its own name, got {names}")

    def score(self, batch: RewardBatch) -> Scored:
        """Reward each answer of the batch; raises `UnusableRewardError`."""
        parts = {term.name: term(batch) for term in self.terms}
        return Scored(torch.stack(list(parts.values())).sum(dim=0), parts)

    def describe(self) -> dict[str, dict[str, Option]]:
        """Names, functions, weights and options, for a run's record."""
        return {
            term.name: {
                "function": f"{term.function.__module__}.{term.function.__qualname__}",
                "weight": term.weight,
                **term.options,
            }
            for term in self.terms
        }


def shaped_rewards(scores_B: Tensor, kl_BA: Tensor, mask_BA: Tensor, *, kl_coef: float) -> Tensor:
    """Rewards of tokens, (B, A): ``-kl_coef * kl`` at each, plus the score on the last one.

    The sum over an answer is its score less the price of its KL, which is what RLOO and GRPO
    compare. 0 on padding. `kl_BA` is in nats, by the estimator of one's choice
    (`alignment.kl.kl_per_token`).

    Raises `ValueError` for an answer without a token: its score has no place to go.
    """
    if not bool(mask_BA.any(dim=1).all()):
        raise ValueError("an answer has no token to put its score on")
    rewards_BA = zero_padding(-kl_coef * kl_BA, mask_BA)
    last_B1 = mask_BA.sum(dim=1, keepdim=True) - 1
    return rewards_BA.scatter_add(1, last_B1, scores_B[:, None].to(rewards_BA.dtype))
