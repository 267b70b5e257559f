"""Drawn answers as one batch of tensors, whoever drew them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from alignment.experience import Sampled
from alignment.policy_base import PolicyBase
from alignment.prompts import AlignmentPrompt


class Drawn(NamedTuple):
    """One answer: its tokens, the end token included, and their natural log-probabilities."""

    token_ids: Sequence[int]
    logprobs: Sequence[float]


def lay_out(
    prompts: Sequence[AlignmentPrompt],
    drawn: Sequence[Drawn],
    base: PolicyBase,
    device: torch.device,
) -> Sampled:
    """Answers padded on the right, on `device`; the texts are without end token."""
    ends = frozenset(base.end_ids)
    has_end = [bool(row.token_ids) and row.token_ids[-1] in ends for row in drawn]
    words = [
        list(row.token_ids[:-1] if ended else row.token_ids)
        for row, ended in zip(drawn, has_end, strict=True)
    ]
    longest = max(len(row.token_ids) for row in drawn)
    answers = torch.full((len(drawn), longest), base.pad_id)
    mask = torch.zeros(len(drawn), longest, dtype=torch.bool)
    logprobs = torch.zeros(len(drawn), longest)
    for number, row in enumerate(drawn):
        length = len(row.token_ids)
        answers[number, :length] = torch.tensor(row.token_ids)
        mask[number, :length] = True
        logprobs[number, :length] = torch.tensor(row.logprobs)
    return Sampled(
        prompts=tuple(prompts),
        answer_ids_BA=answers.to(device),
        mask_BA=mask.to(device),
        has_end_B=torch.tensor(has_end, device=device),
        sampler_logprobs_BA=logprobs.to(device),
        texts=tuple(base.tokenizer.batch_decode(words, skip_special_tokens=True)),
    )
