"""Batches for TRL: prompts as the service asks them, answers behind, one score for each token."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from alignment.data.manifest import Example
from alignment.policy_base import PolicyBase
from alignment.policy_config import PolicyConfig
from alignment.policy_vision import vision_of
from alignment.prompts import AlignmentPrompt
from alignment.targets import TargetWriter
from alignment.trl_data import (
    NothingToLearnError,
    RowEncoder,
    dpo_collator,
    dpo_table,
    sft_collator,
    sft_table,
)
from alignment.trl_scores import score_with_own_logits

QUESTION = "Is this picture suitable for everyone to see? Answer yes or no."
WORDS = "If an image shows a fire, is it suitable for everyone to see? Answer yes or no."
EXAMPLES = [
    Example(id="p0", file="p0.png", label="Unsafe", concept="Arson"),
    Example(id="p1", file="p1.png", label="Safe", concept="boat"),
]
PROMPTS = [
    AlignmentPrompt("a", QUESTION, "p0", "unsafe", "no"),
    AlignmentPrompt("b", WORDS, None, "unsafe", "no"),
    AlignmentPrompt("g", "Describe this picture.", "p1"),
    AlignmentPrompt("c", QUESTION, "p1", "safe", "no", view=1),
]

MakeBase = Callable[..., PolicyBase]


def encoder(base: PolicyBase, pictures: Any, multiple: int = 1) -> RowEncoder:
    vision = vision_of(base, PolicyConfig(keep_features=False))
    return RowEncoder(base, vision, pictures, length_multiple=multiple)


def rows(base: PolicyBase, ids: torch.Tensor, mask: torch.Tensor) -> list[str]:
    return [
        str(base.tokenizer.decode(row[kept.bool()])) for row, kept in zip(ids, mask, strict=True)
    ]


def test_sft_learns_answers_alone_after_the_prompts_that_are_served(
    make_base: MakeBase, block_pictures: Any
) -> None:
    base = make_base("reference")
    table = sft_table(PROMPTS, TargetWriter(EXAMPLES, seed=0), limit=9)
    assert table["id"] == ["a", "b", "c"]  # the caption request has no caption to learn

    batch = sft_collator(encoder(base, block_pictures, 32))(list(table))
    ids, labels = batch["input_ids"], batch["labels"]
    assert ids.shape[1] % 32 == 0
    for row, full in enumerate(rows(base, ids, batch["attention_mask"])):
        learnt = labels[row] != -100
        asked = PROMPTS[(0, 1, 3)[row]]
        prompt = base.renderer.prompt(asked.text, with_image=asked.example_id is not None)
        places = base.model.config.image_positions
        answer = base.tokenizer.decode(ids[row][learnt])
        assert torch.equal(labels[row][learnt], ids[row][learnt])
        assert answer == table[row]["completion"] + "<|im_end|>"
        assert full == prompt.replace("<image>", "<image>" * places) + answer
    assert batch["tower_features"].shape[0] == 2


def test_dpo_shows_every_prompt_with_both_answers(make_base: MakeBase, block_pictures: Any) -> None:
    base = make_base("reference")
    table = dpo_table(PROMPTS, TargetWriter(EXAMPLES, seed=0), limit=2)
    assert table["id"] == ["a", "b"]

    batch = dpo_collator(encoder(base, block_pictures))(list(table))
    answers = rows(base, batch["input_ids"], batch["completion_mask"])
    expected = [one["chosen"] for one in table] + [one["rejected"] for one in table]
    assert answers == [f"{answer}<|im_end|>" for answer in expected]
    assert batch["tower_features"].shape[0] == 2
    assert torch.equal(*batch["tower_features"])


def test_a_view_is_shown_as_the_prompt_says(make_base: MakeBase) -> None:
    seen = []

    def pictures(example_id: str, view: int) -> Any:
        seen.append((example_id, view))
        return torch.zeros(4, 1280)

    table = sft_table(PROMPTS, TargetWriter(EXAMPLES, seed=0), limit=9)
    encoder(make_base("reference"), pictures).prompts(list(table))
    assert seen == [("p0", 0), ("p1", 1)]


def test_nothing_to_learn_is_said(make_base: MakeBase) -> None:
    general = [prompt for prompt in PROMPTS if prompt.right is None]
    with pytest.raises(NothingToLearnError, match="none of the prompts"):
        dpo_table(general, TargetWriter(EXAMPLES, seed=0), limit=4)


@torch.no_grad()
@pytest.mark.parametrize("kind", [["a", "c"], ["b"], ["a", "b", "c"]])
def test_the_scores_are_the_models_own_log_probabilities(
    make_base: MakeBase, block_pictures: Any, kind: list[str]
) -> None:
    base = make_base("reference")
    table = list(sft_table(PROMPTS, TargetWriter(EXAMPLES, seed=0), limit=9))
    batch = sft_collator(encoder(base, block_pictures, 8))([r for r in table if r["id"] in kind])
    labels = batch.pop("labels")
    logits = base.model(**batch).logits
    score_with_own_logits(base)
    assert torch.equal(base.model(**batch).logits, logits)

    scores = base.model(**batch, labels=labels, fused_lm_head=True)
    logprobs = logits[:, :-1].log_softmax(-1)
    targets, learnt = labels[:, 1:], labels[:, 1:] != -100
    expected = logprobs.gather(-1, targets.clamp(min=0)[..., None])[..., 0] * learnt
    torch.testing.assert_close(scores.log_probs, expected)
    entropy = torch.distributions.Categorical(logits=logits[:, :-1]).entropy() * learnt
    torch.testing.assert_close(scores.entropy, entropy)
    assert torch.equal(scores.is_top1, (logits[:, :-1].argmax(-1) == targets) & learnt)
    assert torch.equal(scores.label_mask, learnt)
    torch.testing.assert_close(scores.loss, -expected.sum() / learnt.sum())


@torch.no_grad()
@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "idefics3"])
def test_a_row_is_scored_alike_alone_and_in_mixed_company(
    make_base: MakeBase, block_pictures: Any, family: str
) -> None:
    base = make_base(family)
    table = list(sft_table(PROMPTS, TargetWriter(EXAMPLES, seed=0), limit=9))
    collate = sft_collator(encoder(base, block_pictures))

    def logprobs_of(chosen: list[dict[str, Any]]) -> list[torch.Tensor]:
        batch = collate(chosen)
        labels = batch.pop("labels")
        scores = base.model(**batch).logits[:, :-1].log_softmax(-1)
        found = scores.gather(-1, labels[:, 1:].clamp(min=0)[..., None])[..., 0]
        return [row[kept] for row, kept in zip(found, labels[:, 1:] != -100, strict=True)]

    for alone, together in zip(
        (logprobs_of([row])[0] for row in table), logprobs_of(table), strict=True
    ):
        torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)
