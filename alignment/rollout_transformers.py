"""Sampling with the training model itself, batched, with its cache.

Every row draws from a generator of its own, so an answer does not change with what else happened to
be in its batch. `server.engine.hf_sampling` draws in the same way for measuring; here the
log-probability of what was drawn is kept, and the vocabulary is sorted only where a nucleus is cut,
which costs more than the model's pass on a CPU.

Legend beside `alignment.experience`'s: V vocabulary.
"""
# Tensor names carry their shapes.
# ruff: noqa: N803, N806

from collections.abc import Sequence, Set

import torch
from torch import Tensor

from alignment.experience import Sampled
from alignment.policy import Policy
from alignment.policy_inputs import Encoded
from alignment.prompts import AlignmentPrompt
from alignment.rollout_rows import Drawn, lay_out


class TransformersSampler:
    """Draws from `policy` at its own temperature, answers of at most `max_new_tokens`.

    `top_p` below 1 cuts a nucleus. The log-probabilities stay those before the cut, so what is
    learnt from is then not quite what was drawn from: S1's training draws uncut, and so should
    yours.
    """

    def __init__(self, policy: Policy, *, max_new_tokens: int, top_p: float = 1.0) -> None:
        if max_new_tokens < 1 or not 0.0 < top_p <= 1.0:
            raise ValueError(f"can't sample {max_new_tokens} tokens within top-p {top_p}")
        self._policy = policy
        self._max_new_tokens = max_new_tokens
        self._top_p = top_p

    def sample(
        self, prompts: Sequence[AlignmentPrompt], encoded: Encoded, seeds: Sequence[int]
    ) -> Sampled:
        """One answer a prompt; the texts are without end token."""
        base = self._policy.base
        rows = [_Row(seed) for seed in seeds]
        if not len(rows) == len(prompts) == len(encoded):
            raise ValueError(f"{len(prompts)} prompts, {len(encoded)} encoded, {len(rows)} seeds")
        for part in encoded.by_kind():
            drawing = _Drawing(
                [rows[row] for row in part],
                end_ids=frozenset(base.end_ids),
                temperature=self._policy.config.temperature,
                top_p=self._top_p,
            )
            self._policy.generate(
                encoded.take(part), drawing.pick, max_new_tokens=self._max_new_tokens
            )
        drawn = [Drawn(row.token_ids, row.logprobs) for row in rows]
        return lay_out(prompts, drawn, base, encoded.prompts[0].input_ids_P.device)


class _Row:
    """One answer as it is drawn."""

    def __init__(self, seed: int) -> None:
        # Always on the CPU: a seed must mean the same numbers on every device.
        self.generator = torch.Generator().manual_seed(seed)
        self.token_ids: list[int] = []
        self.logprobs: list[float] = []

    def has_ended(self, end_ids: Set[int]) -> bool:
        return bool(self.token_ids) and self.token_ids[-1] in end_ids


class _Drawing:
    """Picks and records the next token of each row of one `generate`."""

    def __init__(
        self, rows: Sequence[_Row], *, end_ids: Set[int], temperature: float, top_p: float
    ) -> None:
        self._rows = rows
        self._end_ids = end_ids
        self._temperature = temperature
        self._top_p = top_p

    def pick(self, logits_BV: Tensor) -> Tensor:
        """Next tokens (B,); a row that has ended gets an end token, which stops `generate`."""
        logprobs_BV = (logits_BV.float() / self._temperature).log_softmax(dim=-1)
        draws = torch.cat(
            [torch.rand(1, generator=row.generator, dtype=torch.double) for row in self._rows]
        )
        chosen_B = _draw(logprobs_BV, draws.to(logits_BV.device), self._top_p)
        drawn = logprobs_BV.gather(1, chosen_B[:, None])[:, 0].tolist()
        chosen = chosen_B.tolist()
        for number, row in enumerate(self._rows):
            if row.has_ended(self._end_ids):
                chosen[number] = min(self._end_ids)
                continue
            row.token_ids.append(chosen[number])
            row.logprobs.append(drawn[number])
        return torch.tensor(chosen, device=logits_BV.device)


def _draw(logprobs_BV: Tensor, draws_B: Tensor, top_p: float) -> Tensor:
    """Tokens (B,) by inverting the cumulative distribution at `draws_B` in [0, 1)."""
    # Double: summing a whole vocabulary in float32 would lose its rare tokens.
    probs = logprobs_BV.double().exp()
    order = None
    if top_p < 1.0:
        probs, order = probs.sort(dim=-1, descending=True, stable=True)
        # The nucleus: every token before the mass is reached, and the one that reaches it.
        probs = torch.where(probs.cumsum(dim=-1) - probs < top_p, probs, 0.0)
    reached = probs.cumsum(dim=-1)
    whole = reached[:, -1]
    # Rounding must not carry a draw to the very end, where tokens without probability lie.
    target = torch.minimum(draws_B * whole, whole.nextafter(torch.zeros_like(whole)))
    place = torch.searchsorted(reached, target[:, None], right=True)
    return (place if order is None else order.gather(1, place))[:, 0]
