"""Rollouts: answers are sampled, then scored by the training model.

A sampler's own log-probabilities are never learnt from: another runtime, or the same one with a
cache, rounds otherwise, and PPO's ratio would begin away from 1. They are measured against the
training model's instead (`Mismatch`), since what differs there is trained on as if it were
off-policy.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from alignment.experience import Experience, Sampled
from alignment.policy import Policy, Read
from alignment.policy_inputs import Encoded, joined
from alignment.policy_vision import PictureReader
from alignment.prompts import AlignmentPrompt
from alignment.training_stats import Mismatch, sampler_mismatch
from server.errors import SightwardError


class Sampler(Protocol):
    """Draws answers from the policy as it is now."""

    def sample(
        self, prompts: Sequence[AlignmentPrompt], encoded: Encoded, seeds: Sequence[int]
    ) -> Sampled:
        """One answer a prompt. A row depends on its own seed alone, beside rounding."""
        ...


class Rollout(NamedTuple):
    """A batch to learn from: the experience, its encoded prompts and the sampler's mismatch."""

    experience: Experience
    encoded: Encoded
    mismatch: Mismatch


class EmptyAnswersError(SightwardError):
    """Every answer of a batch is empty: nothing can be learnt from it."""

    def __init__(self, answers: int) -> None:
        super().__init__(
            f"all {answers} sampled answers are empty: the model ends each at once (is the prompt "
            "in the format that it was trained on?)"
        )
        self.answers = answers


def collect(
    policy: Policy,
    sampler: Sampler,
    prompts: Sequence[AlignmentPrompt],
    pictures: PictureReader,
    *,
    seeds: Sequence[int],
    rows_at_once: int | None = None,
) -> Rollout:
    """Sample an answer to every prompt and score it in all three roles, at rest.

    `seeds` are one a row (`row_seeds`). `rows_at_once` bounds how many rows share a scoring pass
    (default: all); fewer take less memory. Raises EmptyAnswersError and what encoding raises.
    """
    with policy.at_rest():
        encoded = policy.encode(prompts, pictures)
        sampled = sampler.sample(prompts, encoded, seeds)
        if not any(text.strip() for text in sampled.texts):
            raise EmptyAnswersError(len(sampled.texts))
        parts = [
            _score(policy, encoded, sampled, rows)
            for rows in torch.split(torch.arange(len(prompts)), rows_at_once or len(prompts))
        ]
    reads, logprobs, values = zip(*parts, strict=True)
    experience = Experience(
        sampled,
        torch.cat(logprobs),
        torch.cat([read.reference.logprobs_BA for read in reads]),
        torch.cat(values),
    )
    return Rollout(experience, joined([read.encoded for read in reads]), mismatch_of(experience))


def mismatch_of(experience: Experience) -> Mismatch:
    """Compare the sampler's log-probabilities with the training model's."""
    sampled = experience.sampled
    return sampler_mismatch(sampled.sampler_logprobs_BA, experience.logprobs_BA, sampled.mask_BA)


def row_seeds(seed: int, step: int, rows: int) -> tuple[int, ...]:
    """Seeds for the rows of a step, from (seed, step, row) alone."""
    return tuple(
        int.from_bytes(hashlib.sha256(f"{seed}:answer:{step}:{row}".encode()).digest()[:7])
        for row in range(rows)
    )


def _score(
    policy: Policy, encoded: Encoded, sampled: Sampled, rows: Tensor
) -> tuple[Read, Tensor, Tensor]:
    taken = encoded.take(rows.tolist())
    answers, mask = sampled.answer_ids_BA[rows], sampled.mask_BA[rows]
    read = policy.read(taken, answers, mask)
    return (
        read,
        policy.logprobs_of(read.encoded, answers, mask).logprobs_BA,
        policy.values_of(read.encoded, answers, mask),
    )
