"""Recipes of [S2]'s two stages: functions that return complete, frozen configurations.

`s2_*` are the paper's settings for LLaVA-1.5-7B on four large GPUs, `reference_*` the same method
at a size that two CPU cores finish in a few minutes.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from alignment.policy_config import LoraShape
from alignment.prompt_sampler import PromptMix
from alignment.recipes_alignment import REFERENCE_LORA, SftRecipe
from server.vlm.safety_shape import Query


@dataclass(frozen=True, slots=True)
class ModulesShape:
    """What of the safety modules is a choice (`SafetyShape`).

    Channels and the head's attention are the base's: its keys and values lie in the language
    model's cache when vLLM serves it.
    """

    query: Query
    seen_tokens: int
    head_tokens: int
    width: int
    depth: int
    kernel: int = 3


@dataclass(frozen=True, slots=True)
class StageOneRecipe:
    """Stage 1: the modules alone, the base frozen.

    A step reads `pictures_per_step` pictures, half of them unsafe, and `words_per_step` subjects
    named in words, for a head that reads the text. Its loss is

        language + risk_weight * (CE level + CE type) + concept_weight * CE concept

    and the language loss is the mean over the answers to `language_mix`, which is asked at every
    `language_every`-th step: it reaches nothing but the seen tokens, through the whole frozen
    language model, so it is most of a step's time. Passes take `micro_batch_size` rows.
    `category_power` is as in `alignment.safety.picture_draws`. The learning rate rises over
    `warmup_steps`, then falls along a cosine to a tenth. The validation split is read every
    `validate_every` steps and at the end.
    """

    name: str
    seed: int
    modules: ModulesShape
    steps: int
    pictures_per_step: int
    words_per_step: int
    language_mix: PromptMix
    language_every: int
    views: int
    category_power: float
    risk_weight: float
    concept_weight: float
    micro_batch_size: int
    lr: float
    warmup_steps: int
    weight_decay: float
    max_grad_norm: float
    length_multiple: int
    save_every: int
    validate_every: int

    def __post_init__(self) -> None:
        positive = (self.steps, self.pictures_per_step, self.micro_batch_size, self.language_every)
        if min(positive) < 1 or self.pictures_per_step % 2:
            raise ValueError(f"no stage 1 can be trained so: {self}")
        if self.risk_weight < 0 or self.concept_weight < 0:
            raise ValueError("a loss has no negative weight")


@dataclass(frozen=True, slots=True)
class HintMix:
    """Shares of the prompts of stage 2 by the hint that goes before them.

    `right` is the hint that the picture's own level calls for, `none` leaves it out, as where a
    type is switched off; the rest get another level's hint, so that what is followed is the hint
    and not the picture.
    """

    right: float = 0.7
    none: float = 0.15

    def __post_init__(self) -> None:
        if min(self.right, self.none) < 0 or self.right + self.none > 1:
            raise ValueError(f"no shares of prompts: {self}")


@dataclass(frozen=True, slots=True)
class StageTwoRecipe:
    """Stage 2: the modules frozen, LoRA on the language model, by supervised fine-tuning."""

    sft: SftRecipe
    hints: HintMix = field(default_factory=HintMix)


@dataclass(frozen=True, slots=True)
class SafetyRecipe:
    """Both stages for one model. `model` is a hub id, None for the reference VLM."""

    name: str
    title: str
    model: str | None
    licence: str
    stage1: StageOneRecipe
    stage2: StageTwoRecipe
    dtype: Literal["bfloat16", "float32"] = "bfloat16"


def reference_stage1(query: Query = "learned") -> StageOneRecipe:
    """Stage 1 of the reference VLM: a few minutes of one core, more where the text is read.

    A head that reads the text needs the language model's state for every picture, so its steps are
    fewer, and fewer pictures each. Three thousand pictures bear no large abstractor: on the
    validation split, tried with one seed each, one layer of width 128 that looks at each position
    alone read no worse than two of width 192 that look at neighbours, at half the cost.
    """
    return StageOneRecipe(
        name=f"reference-stage1-{query}",
        seed=2024,
        modules=ModulesShape(
            query=query, seen_tokens=4, head_tokens=4, width=128, depth=1, kernel=1
        ),
        steps=1000 if query == "learned" else 240,
        pictures_per_step=64 if query == "learned" else 24,
        words_per_step=0 if query == "learned" else 6,
        language_mix=PromptMix(pictures=4, general=4),
        language_every=10 if query == "learned" else 4,
        views=8,
        category_power=0.5,
        risk_weight=10.0,
        concept_weight=2.0,
        micro_batch_size=32,
        lr=1e-3,
        warmup_steps=20,
        weight_decay=0.05,
        max_grad_norm=50.0,
        length_multiple=32,
        save_every=100 if query == "learned" else 40,
        validate_every=200 if query == "learned" else 80,
    )


def reference_stage2() -> StageTwoRecipe:
    """Stage 2 of the reference VLM, with the adapter of its other methods.

    So PPO can begin from it.
    """
    return StageTwoRecipe(
        sft=SftRecipe(
            name="reference-stage2",
            seed=2024,
            lora=REFERENCE_LORA,
            steps=60,
            mix=PromptMix(pictures=12, words=4, general=16),
            views=8,
            micro_batch_size=8,
            lr=2e-3,
            warmup_steps=5,
            weight_decay=0.0,
            max_grad_norm=1.0,
            gradient_checkpointing=False,
            length_multiple=32,
            save_every=20,
        )
    )


# Of about 11,000 risky and 3,000 clean samples, three epochs in steps of 128.
_S2_STAGE1_STEPS = 3 * 14_000 // 128
# About 100,000 samples once; the batch is not reported and taken from stage 1.
_S2_STAGE2_STEPS = 100_000 // 128


def s2_stage1() -> StageOneRecipe:
    """[S2]'s stage 1: lr 1e-5, 3 epochs, batch 128, weight 10, 64 tokens of each kind.

    The abstractor's depth and width are PSA-VLM's; its 576 queries are as many as the tower has
    positions, all of which our projector keeps. Where PSA-VLM's head has 8 heads ours has the
    language model's 32, to lie in its cache. Left open by the paper and set here: clipping, warm-up
    and no decay; the concepts are ours, and not learnt.
    """
    return StageOneRecipe(
        name="s2-stage1",
        seed=2024,
        modules=ModulesShape(
            query="learned",
            seen_tokens=64,
            head_tokens=64,
            width=1088,
            depth=3,
        ),
        steps=_S2_STAGE1_STEPS,
        pictures_per_step=128,
        words_per_step=0,
        language_mix=PromptMix(pictures=64, general=64, open_share=1.0),
        language_every=1,
        views=1,
        category_power=1.0,
        risk_weight=10.0,
        concept_weight=0.0,
        micro_batch_size=8,
        lr=1e-5,
        warmup_steps=10,
        weight_decay=0.0,
        max_grad_norm=1.0,
        length_multiple=8,
        save_every=50,
        validate_every=100,
    )


def s2_stage2() -> StageTwoRecipe:
    """[S2]'s stage 2: LoRA 256/16/.05 on the language model, about 100,000 samples.

    Learning rate and batch are not reported; LLaVA-1.5's own LoRA rate is taken.
    """
    return StageTwoRecipe(
        sft=SftRecipe(
            name="s2-stage2",
            seed=2024,
            lora=LoraShape(r=256, alpha=16, dropout=0.05),
            steps=_S2_STAGE2_STEPS,
            mix=PromptMix(pictures=64, general=64, open_share=1.0),
            views=1,
            micro_batch_size=4,
            lr=2e-4,
            warmup_steps=24,
            weight_decay=0.0,
            max_grad_norm=1.0,
            gradient_checkpointing=True,
            length_multiple=8,
            save_every=100,
        )
    )


def reference(query: Query = "learned") -> SafetyRecipe:
    """This product's own model on two CPU cores."""
    return SafetyRecipe(
        name="reference",
        title="Sightward's reference VLM",
        model=None,
        licence="apache-2.0",
        stage1=reference_stage1(query),
        stage2=reference_stage2(),
    )


def s2_llava(query: Query = "learned") -> SafetyRecipe:
    """[S2]: LLaVA-1.5-7B, the paper's settings throughout."""
    stage1 = s2_stage1()
    return SafetyRecipe(
        name="s2-llava",
        title="LLaVA-1.5 7B as in S2",
        model="llava-hf/llava-1.5-7b-hf",
        licence="llama2",
        stage1=replace(stage1, modules=replace(stage1.modules, query=query)),
        stage2=s2_stage2(),
    )
