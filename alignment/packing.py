"""Turns to tensors: all turns about one picture share its prefix in one sequence.

The picture's positions stand once at the front; each turn attends to them and to itself, never to
another turn, and its positions count from the end of the prefix. So every turn sees exactly what it
would see alone, at a fraction of the cost.

Legend: B sequences, T positions, P pooled image positions, C tower channels, L answer tokens and
Q turns over the whole batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from alignment.tasks import Turn
from server.vlm.config import IMAGE_TOKEN, SightwardConfig

_OPEN = "<|im_start|>user\n"
_CLOSE = "<|im_end|>\n<|im_start|>assistant\n"
_END = "<|im_end|>"


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns about one picture's features (P, C), or about words alone."""

    turns: tuple[Turn, ...]
    features: Tensor | None = None


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """One training batch.

    Indices are into the flattened (B * T) positions and name the position that *predicts*.
    `attention_mask` is added to the attention scores: 0 where attention is allowed.
    """

    input_ids: Tensor  # (B, T)
    position_ids: Tensor  # (B, T)
    attention_mask: Tensor  # (B, 1, T, T)
    tower_features: Tensor | None  # (images, P, C)
    answer_index: Tensor  # (L,)
    answer_ids: Tensor  # (L,)
    answer_weight: Tensor  # (L,) sums to the number of answered turns
    row_index: Tensor  # (Q,)
    row_category: Tensor  # (Q,) index into categories, "none" last
    row_concept: Tensor  # (Q,) index into concepts, "none" last


# The CPU's matrix kernels are built anew for every shape they meet, which costs more than the
# padding that makes shapes recur.
_LENGTH_MULTIPLE = 32
_ANSWER_MULTIPLE = 64


class Packer:
    """Encodes sequences with the reference VLM's tokenizer and pads them to one length."""

    def __init__(self, tokenizer: Any, config: SightwardConfig) -> None:
        self._tokenizer = tokenizer
        rows: Any = config.recognition_token_ids
        self._categories = _by_row(rows["categories"])
        self._concepts = _by_row(rows["concepts"])
        self._word_prefix = self._encode(_OPEN)
        self._picture_prefix = self._encode(_OPEN + IMAGE_TOKEN * config.image_positions)
        self._pad_id = int(tokenizer.pad_token_id)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def pack(self, sequences: Sequence[Conversation], category_of: dict[str, str]) -> PackedBatch:
        """Build one batch; `category_of` maps a concept to its category."""
        rows = [self._lay_out(sequence) for sequence in sequences]
        length = _round_up(max(len(row.ids) for row in rows), _LENGTH_MULTIPLE)
        input_ids = torch.full((len(rows), length), self._pad_id)
        position_ids = torch.zeros(len(rows), length, dtype=torch.long)
        # Padding belongs to no segment and attends to itself alone, which keeps its softmax finite.
        segments = torch.full((len(rows), length), -1)
        answers: list[tuple[int, int, float]] = []
        recognised: list[tuple[int, int, int]] = []
        for b, (row, sequence) in enumerate(zip(rows, sequences, strict=True)):
            used = len(row.ids)
            input_ids[b, :used] = torch.tensor(row.ids)
            position_ids[b, :used] = torch.tensor(row.positions)
            segments[b, :used] = torch.tensor(row.segments)
            for turn, (asked, answer) in zip(sequence.turns, row.answers, strict=True):
                at = b * length + asked
                recognised.append((at, *self._row_targets(turn, category_of)))
                answers += [(at + i, token, 1 / len(answer)) for i, token in enumerate(answer)]
        spare = _round_up(len(answers), _ANSWER_MULTIPLE) - len(answers)
        answers += [(0, self._pad_id, 0.0)] * spare
        features = [one.features for one in sequences if one.features is not None]
        targets = torch.tensor(recognised)
        return PackedBatch(
            input_ids=input_ids,
            position_ids=position_ids,
            attention_mask=_mask(segments),
            tower_features=torch.stack(features) if features else None,
            answer_index=torch.tensor([at for at, _, _ in answers], dtype=torch.long),
            answer_ids=torch.tensor([token for _, token, _ in answers], dtype=torch.long),
            answer_weight=torch.tensor([weight for _, _, weight in answers]),
            row_index=targets[:, 0],
            row_category=targets[:, 1],
            row_concept=targets[:, 2],
        )

    def _lay_out(self, sequence: Conversation) -> "_Row":
        prefix = self._word_prefix if sequence.features is None else self._picture_prefix
        ids, positions = list(prefix), list(range(len(prefix)))
        segments, answers = [0] * len(prefix), []
        for number, turn in enumerate(sequence.turns, start=1):
            prompt = self._encode(turn.prompt + _CLOSE)
            answer = [] if turn.answer is None else self._encode(turn.answer + _END)
            # The last answer token predicts nothing, so it is left out of the input.
            body = prompt + answer[:-1]
            answers.append((len(ids) + len(prompt) - 1, answer))
            ids += body
            positions += range(len(prefix), len(prefix) + len(body))
            segments += [number] * len(body)
        return _Row(ids, positions, segments, answers)

    def _row_targets(self, turn: Turn, category_of: dict[str, str]) -> tuple[int, int]:
        if turn.concept is None:
            return len(self._categories), len(self._concepts)
        return self._categories[category_of[turn.concept]], self._concepts[turn.concept]


def _by_row(ids: dict[str, int]) -> dict[str, int]:
    """Names to their place in the head's output, which follows the ids."""
    first = min(ids.values())
    return {name: token_id - first for name, token_id in ids.items()}


@dataclass(frozen=True, slots=True)
class _Row:
    ids: list[int]
    positions: list[int]
    segments: list[int]
    answers: list[tuple[int, list[int]]]


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _mask(segments: Tensor) -> Tensor:
    """Causal attention within a segment and to the prefix (segment 0): additive (B, 1, T, T)."""
    asks, seen = segments[:, :, None], segments[:, None, :]
    causal = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool).tril()
    itself = torch.eye(segments.shape[1], dtype=torch.bool)
    allowed = ((asks == seen) | (seen == 0)) & (asks >= 0) & causal
    forbidden = ~(allowed | itself)[:, None]
    return torch.zeros(forbidden.shape, dtype=torch.bfloat16).masked_fill_(
        forbidden, torch.finfo(torch.bfloat16).min
    )
