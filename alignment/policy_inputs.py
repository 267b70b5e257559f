"""Prompts as a model reads them, and their batches: prompts padded on the left, answers behind.

So every row's answer begins in the same column, and the last prompt position of every row is the
one that predicts its first answer token.

Legend, beside `alignment.experience`'s: P positions of a prompt, T positions of a padded batch.
"""
# Tensor names carry their shapes.
# ruff: noqa: N802, N803, N815

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from alignment.policy_trunk import Trunk


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """One prompt without padding.

    `input_ids_P` has the picture's placeholders in place; `per_token` are further inputs, a number
    a position; `per_picture` are inputs whose first dimension counts pictures or their parts;
    `seen` is what the tower made of the picture, None where pixels are passed or there is none.
    """

    input_ids_P: Tensor
    per_token: Mapping[str, Tensor] = field(default_factory=dict)
    per_picture: Mapping[str, Tensor] = field(default_factory=dict)
    seen: Any = None

    @property
    def has_picture(self) -> bool:
        """Whether the prompt is about a picture."""
        return bool(self.per_picture) or self.seen is not None


@dataclass(frozen=True, slots=True)
class Encoded:
    """A batch of encoded prompts; padding is made anew for whatever rows go together.

    `trunks`, where there are any, hold of each prompt *with one certain answer* what the layers
    below the adapters make of it: they stand for that answer only (`Policy.read`).
    """

    prompts: tuple[EncodedPrompt, ...]
    trunks: tuple[Trunk, ...] | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, rows: Sequence[int]) -> "Encoded":
        """These rows, in this order."""
        trunks = self.trunks
        return Encoded(
            tuple(self.prompts[row] for row in rows),
            None if trunks is None else tuple(trunks[row] for row in rows),
        )

    def by_kind(self) -> list[list[int]]:
        """Row numbers in parts that are all with pictures or all without, each part not empty."""
        kinds: dict[bool, list[int]] = {True: [], False: []}
        for row, prompt in enumerate(self.prompts):
            kinds[prompt.has_picture].append(row)
        return [rows for rows in kinds.values() if rows]


def joined(parts: Sequence[Encoded]) -> Encoded:
    """Batches one behind the other; with trunks where all of them have some."""
    trunks = [trunk for part in parts for trunk in part.trunks or ()]
    prompts = tuple(prompt for part in parts for prompt in part.prompts)
    return Encoded(prompts, tuple(trunks) if len(trunks) == len(prompts) else None)


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """Rows of one length. `answer_start` is the column of the first answer token."""

    prompts: tuple[EncodedPrompt, ...]
    input_ids_BT: Tensor
    attention_mask_BT: Tensor
    per_token: dict[str, Tensor]
    answer_start: int

    @property
    def position_ids_BT(self) -> Tensor:
        """Positions that count real tokens alone, so padding moves no token."""
        return (self.attention_mask_BT.cumsum(dim=-1) - 1).clamp(min=0)

    def per_picture(self) -> dict[str, Tensor]:
        """The rows' picture inputs, one behind the other."""
        names = self.prompts[0].per_picture
        return {
            name: torch.cat([prompt.per_picture[name] for prompt in self.prompts]) for name in names
        }


def pad(
    encoded: Encoded,
    *,
    pad_id: int,
    multiple: int = 1,
    answer_ids_BA: Tensor | None = None,
    mask_BA: Tensor | None = None,
) -> PaddedBatch:
    """Lay prompts, and answers where given, into rows whose length is a multiple of `multiple`.

    The last answer token predicts nothing and is left out. Answers need a mask.
    """
    device = encoded.prompts[0].input_ids_P.device
    fed = 0 if answer_ids_BA is None else answer_ids_BA.shape[1] - 1
    longest = max(len(prompt.input_ids_P) for prompt in encoded.prompts)
    length = -(-(longest + fed) // multiple) * multiple
    start = length - fed
    rows = len(encoded)
    input_ids = torch.full((rows, length), pad_id, device=device)
    attention_mask = torch.zeros(rows, length, dtype=torch.long, device=device)
    per_token = {
        name: torch.zeros(rows, length, dtype=value.dtype, device=device)
        for name, value in encoded.prompts[0].per_token.items()
    }
    for row, prompt in enumerate(encoded.prompts):
        begin = start - len(prompt.input_ids_P)
        input_ids[row, begin:start] = prompt.input_ids_P
        attention_mask[row, begin:start] = 1
        for name, value in prompt.per_token.items():
            per_token[name][row, begin:start] = value
    if answer_ids_BA is not None and mask_BA is not None:
        # Nor does a row's own last token: what a row is fed then depends on no other row.
        given = mask_BA[:, 1:].to(device)
        attention_mask[:, start:] = given.long()
        input_ids[:, start:] = torch.where(given, answer_ids_BA[:, :fed].to(device), pad_id)
    return PaddedBatch(encoded.prompts, input_ids, attention_mask, per_token, start)
