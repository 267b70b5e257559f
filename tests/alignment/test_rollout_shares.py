"""Shares of processes become one batch in the order of its prompts."""

import torch

from alignment.experience import Experience, Sampled
from alignment.prompts import AlignmentPrompt
from alignment.rollout_shares import Share, put_together


def share(rows: list[int], lengths: list[int]) -> Share:
    """Answers of these lengths; row r's tokens are all r, its log-probabilities -r."""
    width = max(lengths)
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    ids = torch.where(mask, torch.tensor(rows)[:, None], 99)
    sampled = Sampled(
        prompts=tuple(AlignmentPrompt(str(row), f"prompt {row}", None, None) for row in rows),
        answer_ids_BA=ids,
        mask_BA=mask,
        has_end_B=torch.tensor([row % 2 == 0 for row in rows]),
        sampler_logprobs_BA=-ids.float() * mask,
        texts=tuple(f"text {row}" for row in rows),
    )
    return Share(rows, Experience(sampled, -ids.float() * mask, 2.0 * mask, 3.0 * mask))


def test_rows_come_back_in_order_and_as_wide_as_the_longest() -> None:
    whole = put_together([share([2, 0], [1, 2]), share([1, 3], [3, 1])], pad_id=99)
    sampled = whole.sampled

    assert sampled.answer_ids_BA.tolist() == [[0, 0, 99], [1, 1, 1], [2, 99, 99], [3, 99, 99]]
    assert sampled.mask_BA.sum(dim=1).tolist() == [2, 3, 1, 1]
    assert sampled.has_end_B.tolist() == [True, False, True, False]
    assert sampled.texts == ("text 0", "text 1", "text 2", "text 3")
    assert [prompt.id for prompt in sampled.prompts] == ["0", "1", "2", "3"]
    assert whole.logprobs_BA[1].tolist() == [-1.0, -1.0, -1.0]
    assert whole.ref_logprobs_BA[2].tolist() == [2.0, 0.0, 0.0]
    assert whole.values_BA.sum() == 3.0 * 7
