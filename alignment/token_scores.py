"""From logits to the two numbers PPO needs of each token: its log-probability and the entropy.

Both need the log-softmax over the whole vocabulary in float32. For 32 answers of 512 tokens and
152,000 words that is 10 GB, and autograd would keep it. So tokens are worked through in chunks, and
a chunk's log-softmax is computed again on the way back instead of being kept.

Legend: N tokens, V words of the vocabulary.
"""
# Tensor names carry their shapes.
# ruff: noqa: N803, N806

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


class TokenScores(NamedTuple):
    """In nats, float32, shaped like the token ids that were scored."""

    logprobs: Tensor
    entropy: Tensor


def entropy(logprobs_NV: Tensor) -> Tensor:
    """The entropy of each row of log-probabilities, in nats: -sum(p * log p) over the last axis.

    Words that can't be said (log-probability minus infinity) add nothing, and no nan to gradients.
    """
    p_NV = logprobs_NV.exp()
    return -(p_NV * logprobs_NV.masked_fill(p_NV == 0.0, 0.0)).sum(dim=-1)


def score_tokens(
    states: Tensor,
    token_ids: Tensor,
    *,
    head: Callable[[Tensor], Tensor] | None = None,
    temperature: float = 1.0,
    chunk_tokens: int = 512,
) -> TokenScores:
    """Score `token_ids` (...) under the logits at the same positions.

    `states` (..., V) are the logits, in any precision. With a `head`, they are the hidden states
    (..., H) that it turns into logits chunk by chunk, so that all logits never exist at once.
    Logits are divided by `temperature`, which must be the sampler's for the probabilities to be
    those that the tokens were drawn with.
    """
    states_NH = states.flatten(0, -2)
    ids_N = token_ids.flatten()

    def score_chunk(states_nH: Tensor, ids_n: Tensor) -> TokenScores:
        logits_nV = states_nH if head is None else head(states_nH)
        logprobs_nV = (logits_nV.float() / temperature).log_softmax(dim=-1)
        chosen_n = logprobs_nV.gather(-1, ids_n[:, None]).squeeze(-1)
        return TokenScores(chosen_n, entropy(logprobs_nV))

    # `split` hands its chunks' gradients back in one piece; slices would each fill a full tensor.
    scores = [
        checkpoint(score_chunk, states_nH, ids_n, use_reentrant=False)
        for states_nH, ids_n in zip(
            torch.split(states_NH, chunk_tokens), torch.split(ids_N, chunk_tokens), strict=True
        )
    ]
    return TokenScores(
        torch.cat([chunk.logprobs for chunk in scores]).view(token_ids.shape),
        torch.cat([chunk.entropy for chunk in scores]).view(token_ids.shape),
    )
