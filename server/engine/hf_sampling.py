"""Drawing a batch's next tokens so that each row depends on nothing but its own seed and logits.

transformers samples a whole batch with one generator, so that an answer would change with whatever
else happened to be in its batch. Here every row has a generator of its own, and a row's choice is
recorded where it is made: what a model's own `generate` pads or returns does not matter.
"""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from server.engine.protocol import Sampling


@dataclass(frozen=True, slots=True)
class DrawnRow:
    """The tokens of one answer, its end token left out.

    `has_end` says whether an end token came; `is_broken` whether the model gave no usable
    probabilities on the way.
    """

    token_ids: tuple[int, ...]
    has_end: bool
    is_broken: bool


class _Row:
    """One answer as it is drawn."""

    def __init__(self, seed: int, limit: int) -> None:
        # Always on the CPU: a seed must mean the same numbers on every device.
        self.generator = torch.Generator().manual_seed(seed)
        self.limit = limit
        self.token_ids: list[int] = []
        self.is_broken = False

    def has_ended(self, end_ids: Set[int]) -> bool:
        return len(self.token_ids) >= self.limit or self.has_end(end_ids)

    def has_end(self, end_ids: Set[int]) -> bool:
        return bool(self.token_ids) and self.token_ids[-1] in end_ids


class RowSampler:
    """Picks the next token of each row: the likeliest at temperature 0, else drawn by nucleus.

    `seeds` and `limits` (how many tokens a row may take) are one a row; `end_ids` end a row.
    `before_pick` is called at every token and may raise, to end a long answer.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        limits: Sequence[int],
        sampling: Sampling,
        end_ids: Set[int],
        before_pick: Callable[[], None] = lambda: None,
    ) -> None:
        self._rows = [_Row(seed, limit) for seed, limit in zip(seeds, limits, strict=True)]
        self._sampling = sampling
        self._end_ids = frozenset(end_ids)
        self._before_pick = before_pick

    @property
    def max_new_tokens(self) -> int:
        """The most tokens that any row may take."""
        return max(row.limit for row in self._rows)

    @property
    def is_done(self) -> bool:
        """Whether every row has ended."""
        return all(row.has_ended(self._end_ids) for row in self._rows)

    def row(self, number: int) -> "RowSampler":
        """A sampler for one row alone, which picks into this one's record."""
        one = RowSampler((), (), self._sampling, self._end_ids, self._before_pick)
        one._rows = [self._rows[number]]
        return one

    def pick(self, logits_BV: Tensor) -> Tensor:  # noqa: N803 - B rows, V vocabulary
        """Pick the next tokens (B,) from logits (B, V) and record them.

        A row that has ended is given an end token, so that a model's own loop stops once all have.
        """
        self._before_pick()
        usable = torch.isfinite(logits_BV.max(dim=-1).values).tolist()
        chosen = self._choose(logits_BV).tolist()
        for number, row in enumerate(self._rows):
            if row.has_ended(self._end_ids):
                chosen[number] = min(self._end_ids, default=chosen[number])
                continue
            row.is_broken |= not usable[number]
            row.token_ids.append(chosen[number])
        return torch.tensor(chosen, device=logits_BV.device)

    def drawn(self) -> list[DrawnRow]:
        """What was drawn, row by row."""
        return [
            DrawnRow(
                token_ids=tuple(row.token_ids[:-1] if has_end else row.token_ids),
                has_end=has_end,
                is_broken=row.is_broken,
            )
            for row in self._rows
            for has_end in (row.has_end(self._end_ids),)
        ]

    def as_logits_processor(self) -> Any:
        """A processor for a greedy `generate`: all but the picked token are ruled out."""

        def rule_out(_input_ids: Tensor, scores_BV: Tensor) -> Tensor:  # noqa: N803
            ruled = torch.full_like(scores_BV, -torch.inf)
            return ruled.scatter_(1, self.pick(scores_BV)[:, None], 0.0)

        return rule_out

    def _choose(self, logits_BV: Tensor) -> Tensor:  # noqa: N803
        if self._sampling.temperature == 0.0:
            return logits_BV.argmax(dim=-1)
        # In double precision, so that summing a whole vocabulary adds no error that matters.
        scaled = logits_BV.double() / self._sampling.temperature
        probs, order = torch.softmax(scaled, dim=-1).sort(dim=-1, descending=True, stable=True)
        reached = probs.cumsum(dim=-1)
        # The nucleus: every token before the mass is reached, and the one that reaches it.
        kept = torch.where(reached - probs < self._sampling.top_p, probs, 0.0)
        kept_mass = kept.cumsum(dim=-1)
        draws = [torch.rand(1, generator=row.generator, dtype=torch.double) for row in self._rows]
        target = torch.cat(draws).to(kept_mass.device) * kept_mass[:, -1]
        place = (kept_mass > target[:, None]).int().argmax(dim=-1)
        return order.gather(1, place[:, None])[:, 0]
