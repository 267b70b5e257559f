"""The supervised stages of the reference VLM: `pretrain` and `instruct`.

One loop for both: what differs is the recipe. Every random choice of step i is drawn from
(seed, i) alone, so a killed run goes on from its last checkpoint as if nothing had happened, and
the same seed gives the same weights on the same machine.
"""

import dataclasses
import json
import math
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from alignment.checkpoint import latest_checkpoint, save_checkpoint, save_weights
from alignment.data.manifest import Example, ImageSet
from alignment.features import FeatureReader, build_features
from alignment.optimizer import MasterAdamW
from alignment.packing import Conversation, PackedBatch, Packer
from alignment.recipes import SupervisedRecipe
from alignment.run_identity import METRICS_NAME as METRICS_NAME
from alignment.tasks import TurnMaker
from server.concepts.probes import load_probes
from server.concepts.taxonomy import load_taxonomy
from server.errors import SightwardError
from server.vlm.base import base_config, base_model, base_tokenizer
from server.vlm.model import SightwardForConditionalGeneration


@dataclass(frozen=True, slots=True)
class StepLoss:
    """Losses of one batch; `total` carries the gradient."""

    total: Tensor
    language: Tensor
    category: Tensor
    concept: Tensor
    category_accuracy: float


def train(
    recipe: SupervisedRecipe,
    images: ImageSet,
    *,
    run: Path,
    start: Mapping[str, Tensor],
    cache_root: Path,
) -> Path:
    """Run (or resume) a stage in folder `run`; return the file of the trained weights.

    `start` are weights of the stage before, by parameter name; they must fit the recipe's shape.
    """
    run.mkdir(parents=True, exist_ok=True)
    examples = images.split("train")
    features = build_features(
        images,
        examples,
        root=cache_root,
        grid=recipe.shape.grid,
        views=recipe.views,
        seed=recipe.seed,
    ).open_views()
    model = _trainable_model(recipe, start)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = MasterAdamW(parameters, recipe.weight_decay)
    first_step = 0
    if (found := latest_checkpoint(run)) is not None:
        optimizer.load_state_dict(found.state)
        first_step = found.step
    keep_metrics_before(run / METRICS_NAME, first_step)
    batches = _Batches(recipe, examples, features, Packer(base_tokenizer(), model.config))
    with (run / METRICS_NAME).open("a", encoding="utf-8") as metrics, _progress() as progress:
        task = progress.add_task(recipe.name, total=recipe.steps, completed=first_step, loss=0.0)
        for step in range(first_step, recipe.steps):
            began = time.perf_counter()
            batch = batches.of_step(step)
            loss = loss_of(model, batch, recipe.recognition_weight)
            loss.total.backward()  # type: ignore[no-untyped-call]
            lr = recipe.lr * schedule(step, recipe.steps, recipe.warmup_steps)
            norm = optimizer.step(lr=lr, max_grad_norm=recipe.max_grad_norm)
            _refuse_nan(step, loss)
            line = {
                "step": step,
                "loss": float(loss.total.detach()),
                "loss_language": float(loss.language),
                "loss_category": float(loss.category),
                "loss_concept": float(loss.concept),
                "category_accuracy": None
                if math.isnan(loss.category_accuracy)
                else loss.category_accuracy,
                "lr": lr,
                "grad_norm": norm,
                "tokens": int(batch.input_ids.numel()),
                "seconds": round(time.perf_counter() - began, 3),
            }
            metrics.write(json.dumps(line) + "\n")
            metrics.flush()
            progress.update(task, advance=1, loss=line["loss"])
            if (step + 1) % recipe.save_every == 0 and step + 1 < recipe.steps:
                save_checkpoint(run, step + 1, optimizer.state_dict())
    return save_weights(
        run, {**start, **optimizer.weights()}, {"recipe": json.dumps(dataclasses.asdict(recipe))}
    )


def loss_of(
    model: SightwardForConditionalGeneration, batch: PackedBatch, recognition_weight: float
) -> StepLoss:
    """Language loss (mean over answered turns) plus weighted recognition losses (mean over turns).

    Only the positions that predict something are projected to the vocabulary.
    """
    embeddings = model.embed_inputs(batch.input_ids, tower_features=batch.tower_features)
    hidden: Tensor = model.language_model.model(
        inputs_embeds=embeddings,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        use_cache=False,
    ).last_hidden_state
    flat = hidden.flatten(0, 1)
    words = model.language_model.lm_head(flat[batch.answer_index]).float()
    answered = F.cross_entropy(words, batch.answer_ids, reduction="none") * batch.answer_weight
    language = answered.sum() / batch.answer_weight.sum().clamp(min=1.0)
    category = concept = language.new_zeros(())
    accuracy = math.nan
    if recognition_weight > 0 and model.recognition is not None:
        rows = model.recognition(flat[batch.row_index])
        categories = len(model.config.recognition_token_ids["categories"])
        by_category = torch.cat([rows[:, :categories], rows[:, -1:]], dim=1)
        category = F.cross_entropy(by_category, batch.row_category)
        concept = F.cross_entropy(rows[:, categories:], batch.row_concept)
        accuracy = float((by_category.argmax(-1) == batch.row_category).float().mean())
    total = language + recognition_weight * (category + concept)
    return StepLoss(total, language.detach(), category.detach(), concept.detach(), accuracy)


def schedule(step: int, steps: int, warmup_steps: int) -> float:
    """Linear warm-up, then a cosine to a tenth: the factor on the learning rate at `step`."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done))


class TrainingCollapsedError(SightwardError):
    """The loss is no number any more; the last checkpoint is still good."""


class StartWeightsError(SightwardError):
    """The weights to start from have parameters that the recipe's model lacks."""

    def __init__(self, unknown: Sequence[str]) -> None:
        super().__init__(f"weights to start from don't fit the recipe: {', '.join(unknown)}")
        self.unknown = tuple(unknown)


class _Batches:
    """The batch of any step, drawn from (seed, step) alone."""

    def __init__(
        self,
        recipe: SupervisedRecipe,
        examples: Sequence[Example],
        features: FeatureReader,
        packer: Packer,
    ) -> None:
        self._recipe, self._examples = recipe, examples
        self._features, self._packer = features, packer
        taxonomy = load_taxonomy()
        self._turns = TurnMaker(examples, load_probes(), taxonomy)
        self._category_of = {name: taxonomy.category_of(name) for name in taxonomy.concept_names}
        sizes = Counter(example.category for example in examples)
        self._weights = [sizes[one.category] ** (recipe.category_power - 1) for one in examples]

    def of_step(self, step: int) -> PackedBatch:
        recipe = self._recipe
        rng = random.Random(f"{recipe.seed}:{recipe.name}:{step}")  # noqa: S311 - sampling
        pictures = rng.choices(self._examples, self._weights, k=recipe.pictures_per_step)
        conversations = [self._about(example, rng) for example in pictures]
        for _ in range(recipe.word_sequences_per_step):
            turns = self._turns.about_words(recipe.turns_per_word_sequence, rng)
            conversations.append(Conversation(tuple(turns)))
        return self._packer.pack(conversations, self._category_of)

    def _about(self, example: Example, rng: random.Random) -> Conversation:
        if self._recipe.stage == "pretrain":
            turns = [self._turns.caption(example, rng)]
        else:
            turns = self._turns.about_picture(example, self._recipe.turns_per_picture, rng)
        view = rng.randrange(self._recipe.views)
        return Conversation(tuple(turns), self._features.read(example.id, view))


def _trainable_model(
    recipe: SupervisedRecipe, start: Mapping[str, Tensor]
) -> SightwardForConditionalGeneration:
    """The base in bf16 with the recipe's parameters unfrozen and `start` loaded."""
    shape = recipe.shape
    config = base_config(
        grid=shape.grid,
        safety_tokens=shape.safety_tokens,
        recognition_hidden=shape.recognition_hidden,
    )
    model = base_model(config, seed=recipe.seed)
    # Measured on two cores: masked bf16 SDPA takes four times as long backward as plain matmuls.
    model.language_model.set_attn_implementation("eager")
    model.requires_grad_(False)
    trained: list[nn.Parameter] = [
        *model.embedder.projector.parameters(),
        model.embedder.safety_tokens,
    ]
    if recipe.lora is not None:
        torch.manual_seed(recipe.seed)
        inject_adapter_in_model(
            LoraConfig(
                r=recipe.lora.r,
                lora_alpha=recipe.lora.alpha,
                target_modules=list(recipe.lora.targets),
            ),
            model.language_model,
        )
    if recipe.recognition_weight > 0 and model.recognition is not None:
        trained += model.recognition.parameters()
    for parameter in trained:
        parameter.requires_grad_(True)
    unknown = model.load_state_dict(dict(start), strict=False).unexpected_keys
    if unknown:
        raise StartWeightsError(unknown)
    model.to(torch.bfloat16)  # type: ignore[arg-type]
    model.train()
    return model


def _refuse_nan(step: int, loss: StepLoss) -> None:
    value = float(loss.total.detach())
    if not math.isfinite(value):
        raise TrainingCollapsedError(f"loss is {value} at step {step}")


def keep_metrics_before(path: Path, step: int) -> None:
    """Drop lines from `step` on: a resumed run writes them again."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in _whole_lines(lines) if json.loads(line)["step"] < step]
    path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def _whole_lines(lines: Sequence[str]) -> Iterator[str]:
    """A kill can cut the last line short."""
    for line in lines:
        try:
            json.loads(line)
        except json.JSONDecodeError:
            return
        yield line


def _progress() -> Progress:
    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns)
