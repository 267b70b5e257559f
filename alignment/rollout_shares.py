"""One batch of experience from the shares of several processes, in the order of its prompts."""
# Tensor names carry their shapes.
# ruff: noqa: N803

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from alignment.experience import Experience, Sampled


class Share(NamedTuple):
    """What one process sampled: `rows` say which of the batch's prompts it answered."""

    rows: Sequence[int]
    experience: Experience


def on_device(experience: Experience, device: torch.device | str) -> Experience:
    """The same experience with its tensors on a device: processes exchange them on the CPU."""
    sampled = experience.sampled
    return Experience(
        sampled=Sampled(
            prompts=sampled.prompts,
            answer_ids_BA=sampled.answer_ids_BA.to(device),
            mask_BA=sampled.mask_BA.to(device),
            has_end_B=sampled.has_end_B.to(device),
            sampler_logprobs_BA=sampled.sampler_logprobs_BA.to(device),
            texts=sampled.texts,
        ),
        logprobs_BA=experience.logprobs_BA.to(device),
        ref_logprobs_BA=experience.ref_logprobs_BA.to(device),
        values_BA=experience.values_BA.to(device),
    )


def put_together(shares: Sequence[Share], *, pad_id: int) -> Experience:
    """All shares as one batch, padded to its longest answer."""
    rows = [row for share in shares for row in share.rows]
    order = sorted(range(len(rows)), key=rows.__getitem__)
    all_sampled = [share.experience.sampled for share in shares]
    prompts = [prompt for sampled in all_sampled for prompt in sampled.prompts]
    texts = [text for sampled in all_sampled for text in sampled.texts]

    def joined(parts_bA: list[Tensor], padding: int = 0) -> Tensor:
        longest = max(part_bA.shape[1] for part_bA in parts_bA)
        padded = [
            F.pad(part_bA, (0, longest - part_bA.shape[1]), value=padding) for part_bA in parts_bA
        ]
        return torch.cat(padded)[order]

    return Experience(
        sampled=Sampled(
            prompts=tuple(prompts[place] for place in order),
            answer_ids_BA=joined([one.answer_ids_BA for one in all_sampled], pad_id),
            mask_BA=joined([one.mask_BA for one in all_sampled]),
            has_end_B=torch.cat([one.has_end_B for one in all_sampled])[order],
            sampler_logprobs_BA=joined([one.sampler_logprobs_BA for one in all_sampled]),
            texts=tuple(texts[place] for place in order),
        ),
        logprobs_BA=joined([share.experience.logprobs_BA for share in shares]),
        ref_logprobs_BA=joined([share.experience.ref_logprobs_BA for share in shares]),
        values_BA=joined([share.experience.values_BA for share in shares]),
    )
