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
from alignment.processes import ALONE, Processes
from alignment.prompts import AlignmentPrompt
from alignment.rollout_shares import Share, on_device, put_together
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
    processes: Processes = ALONE,
) -> Rollout:
    """Sample an answer to every prompt and score it in all three roles, at rest.

    `seeds` are one a row (`row_seeds`). `rows_at_once` bounds how many rows share a scoring pass
    (default: all); fewer take less memory. Each of several `processes` answers its share, and all
    get the whole. Raises EmptyAnswersError and what encoding raises.
    """
    with policy.at_rest():
        encoded = policy.encode(prompts, pictures)
        mine = processes.share([prompt.has_picture for prompt in encoded.prompts])
        taken = encoded.take(mine)
        sampled = sampler.sample(
            [prompts[row] for row in mine], taken, [seeds[row] for row in mine]
        )
        if not any(text.strip() for text in processes.gathered(sampled.texts)):
            raise EmptyAnswersError(len(prompts))
        parts = [
            _score(policy, taken, sampled, rows)
            for rows in torch.split(torch.arange(len(mine)), rows_at_once or len(mine))
        ]
    reads, logprobs, values = zip(*parts, strict=True)
    experience = Experience(
        sampled,
        torch.cat(logprobs),
        torch.cat([read.reference.logprobs_BA for read in reads]),
        torch.cat(values),
    )
    read = joined([part.encoded for part in reads])
    if processes.size > 1:
        shares = processes.gathered([Share(mine, on_device(experience, "cpu"))])
        whole = put_together(shares, pad_id=policy.base.pad_id)
        experience = on_device(whole, experience.logprobs_BA.device)
        # Whoever learns from a row has its prompt, but not what another process made of it.
        read = Encoded(encoded.prompts)
    return Rollout(experience, read, mismatch_of(experience))


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
