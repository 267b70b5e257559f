"""Prompts and their targets as TRL takes them: a table of rows, and batches made from it.

TRL's own collators for pictures call a processor on the whole batch; many processors (ours among
them) don't take pictures and words alone in one call, and the prompt would be another than the one
that the service asks. So rows are encoded as for PPO (`alignment.policy_vision`), one by one, and
laid side by side here: prompt, answer, padding. Both trainers take a collator as a public option.

Legend as in `alignment.policy_inputs`: B rows, T positions of a padded batch.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from alignment.policy_base import PolicyBase
from alignment.policy_inputs import EncodedPrompt
from alignment.policy_vision import PictureReader, Vision
from alignment.prompts import AlignmentPrompt
from alignment.targets import TargetWriter
from server.errors import SightwardError

IGNORED = -100
"""A label that no loss is taken of."""


class NothingToLearnError(SightwardError):
    """No prompt has a target."""

    def __init__(self) -> None:
        super().__init__("none of the prompts has an answer to learn from")


class PaddedRows(NamedTuple):
    """`answer_mask_BT` is 1 on answers, their end token included; `further` are other inputs."""

    input_ids_BT: Tensor  # noqa: N815
    attention_mask_BT: Tensor  # noqa: N815
    answer_mask_BT: Tensor  # noqa: N815
    further: dict[str, Tensor]


def sft_table(prompts: Iterable[AlignmentPrompt], writer: TargetWriter, *, limit: int) -> Any:
    """A `datasets.Dataset` of prompts with the answer to learn as ``completion``.

    Prompts are read in their order until `limit` have a target; those without are left out. Raises
    NothingToLearnError when none has one.
    """
    return _table(
        (
            _asked(prompt) | {"completion": target}
            for prompt in prompts
            if (target := writer.target(prompt)) is not None
        ),
        limit,
    )


def dpo_table(prompts: Iterable[AlignmentPrompt], writer: TargetWriter, *, limit: int) -> Any:
    """A `datasets.Dataset` of prompts with a ``chosen`` and a ``rejected`` answer.

    As `sft_table`; prompts without a right answer are left out.
    """
    return _table(
        (
            _asked(prompt) | {"chosen": pair.chosen, "rejected": pair.rejected}
            for prompt in prompts
            if (pair := writer.pair(prompt)) is not None
        ),
        limit,
    )


def _asked(prompt: AlignmentPrompt) -> dict[str, Any]:
    return {
        "id": prompt.id,
        "prompt": prompt.text,
        # The column that tells TRL to leave encoding to the collator.
        "images": [] if prompt.example_id is None else [prompt.example_id],
        "view": prompt.view,
    }


def _table(rows: Iterable[dict[str, Any]], limit: int) -> Any:
    from datasets import Dataset, Features, List, Value

    taken = list(islice(rows, limit))
    if not taken:
        raise NothingToLearnError
    columns = {name: Value("string") for name in taken[0]}
    columns |= {"images": List(Value("string")), "view": Value("int64")}
    return Dataset.from_list(taken, features=Features(columns))


class RowEncoder:
    """Encodes a table's rows for one base and pads them on the right."""

    def __init__(
        self, base: PolicyBase, vision: Vision, pictures: PictureReader, *, length_multiple: int
    ) -> None:
        self._base, self._vision, self._pictures = base, vision, pictures
        self._multiple = length_multiple
        eos = base.tokenizer.eos_token_id
        self._end_id = eos if eos in base.end_ids else base.end_ids[0]

    def prompts(self, rows: Sequence[dict[str, Any]]) -> list[EncodedPrompt]:
        """The rows' prompts with their pictures."""
        return [
            self._vision.encode(
                AlignmentPrompt(
                    id=row["id"],
                    text=row["prompt"],
                    example_id=next(iter(row["images"]), None),
                    view=row["view"],
                ),
                self._pictures,
            )
            for row in rows
        ]

    def with_answers(self, prompts: Sequence[EncodedPrompt], answers: Sequence[str]) -> PaddedRows:
        """Each prompt followed by its answer and the token that ends it."""
        tokenizer, device = self._base.tokenizer, prompts[0].input_ids_P.device
        written = [
            [*tokenizer.encode(answer, add_special_tokens=False), self._end_id]
            for answer in answers
        ]
        lengths = [
            len(prompt.input_ids_P) + len(ids) for prompt, ids in zip(prompts, written, strict=True)
        ]
        shape = (len(prompts), -(-max(lengths) // self._multiple) * self._multiple)
        input_ids = torch.full(shape, self._base.pad_id, device=device)
        attention_mask = torch.zeros(shape, dtype=torch.long, device=device)
        answer_mask = torch.zeros(shape, dtype=torch.long, device=device)
        per_token = {
            name: torch.zeros(shape, dtype=value.dtype, device=device)
            for prompt in prompts
            for name, value in prompt.per_token.items()
        }
        for row, (prompt, ids, length) in enumerate(zip(prompts, written, lengths, strict=True)):
            start = len(prompt.input_ids_P)
            input_ids[row, :start] = prompt.input_ids_P
            input_ids[row, start:length] = torch.tensor(ids, device=device)
            attention_mask[row, :length] = 1
            answer_mask[row, start:length] = 1
            for name, value in prompt.per_token.items():
                per_token[name][row, :start] = value
        return PaddedRows(input_ids, attention_mask, answer_mask, per_token | _pictures_of(prompts))


def sft_collator(encoder: RowEncoder) -> Callable[[list[dict[str, Any]]], dict[str, Tensor]]:
    """Batches for TRL's SFTTrainer: labels on the answer alone."""

    def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        padded = encoder.with_answers(encoder.prompts(rows), [row["completion"] for row in rows])
        labels = padded.input_ids_BT.masked_fill(padded.answer_mask_BT == 0, IGNORED)
        return {
            "input_ids": padded.input_ids_BT,
            "attention_mask": padded.attention_mask_BT,
            "labels": labels,
            **padded.further,
        }

    return collate


def dpo_collator(encoder: RowEncoder) -> Callable[[list[dict[str, Any]]], dict[str, Tensor]]:
    """Batches for TRL's DPOTrainer: every prompt with its chosen answer, then with its rejected."""

    def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        prompts = encoder.prompts(rows)
        answers = [row[name] for name in ("chosen", "rejected") for row in rows]
        padded = encoder.with_answers([*prompts, *prompts], answers)
        return {
            "input_ids": padded.input_ids_BT,
            "attention_mask": padded.attention_mask_BT,
            "completion_mask": padded.answer_mask_BT,
            **padded.further,
        }

    return collate


def _pictures_of(prompts: Sequence[EncodedPrompt]) -> dict[str, Tensor]:
    """The rows' picture inputs, one behind the other; words alone have none."""
    shown = [prompt.per_picture for prompt in prompts if prompt.per_picture]
    names = shown[0] if shown else ()
    return {name: torch.cat([one[name] for one in shown]) for name in names}
