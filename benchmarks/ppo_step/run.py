"""The benchmark `ppo-step`: our step and the straightforward one in turn, in one process.

Same model, same prompts, same answers to learn from, same recipe; before each round the
straightforward models get our adapters, so that they stay the same policy. The order changes from
round to round and the first round is thrown away. Ratios are taken within a round.

Ours meets every picture for the first time in each step, though a run meets it again and again:
what encoding costs once the tower's features are cached is measured beside it.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignment.data.manifest import ImageSet
from alignment.policy_base import PolicyBase
from alignment.ppo_recipe import PpoRecipe
from alignment.prompt_sampler import AlignmentPrompts
from alignment.responses.protocol import ResponseClassifier
from alignment.responses.rules import RulesClassifier
from alignment.rollout import row_seeds
from benchmarks.ppo_step.contenders import (
    PARTS,
    Batch,
    OursContender,
    Step,
    ThreeModelsContender,
)
from benchmarks.ppo_step.drawings import DecodedViews, draw_set
from benchmarks.records import DataOrigin, build_record
from benchmarks.stats import Spread, spread

BENCHMARK = "ppo-step"
CONTENDERS = ("ours", "three_models")


@dataclass(frozen=True, slots=True)
class PpoStepConfig:
    """`drawings` pictures are drawn for the prompts to be about; None: as the recipe has it."""

    rounds: int = 5
    drawings: int = 96
    seed: int = 2024
    max_new_tokens: int | None = None
    micro_batch_size: int | None = None

    def applied_to(self, recipe: PpoRecipe) -> PpoRecipe:
        """The recipe to measure: nothing ends its epochs early."""
        return dataclasses.replace(
            recipe,
            seed=self.seed,
            target_kl=None,
            max_new_tokens=self.max_new_tokens or recipe.max_new_tokens,
            micro_batch_size=self.micro_batch_size or recipe.micro_batch_size,
        )


@dataclass(frozen=True, slots=True)
class Round:
    """Both contenders' step over the same batch; `answer_tokens` are those learnt from.

    `ours_cached_encode_s` is None for models that take no cached features.
    """

    ours: Step
    three_models: Step
    ours_cached_encode_s: float | None
    answer_tokens: int

    @property
    def logprob_difference(self) -> float:
        """The largest between both's log-probabilities of the same answer tokens, in nats."""
        ours, other = self.ours.experience, self.three_models.experience
        return float((ours.logprobs_BA - other.logprobs_BA).abs().max())


def ppo_step_record(
    config: PpoStepConfig,
    model: str | Path,
    *,
    recipe: str,
    device: str | None = None,
    dtype: str | None = None,
    on_round: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Load the model and measure a step of the named recipe's PPO.

    Raises UnknownRecipeError and what `alignment.policy_base.load_base` raises.
    """
    from alignment.policy_base import load_base
    from alignment.recipe_book.registry import recipe_named
    from server.vlm.assembly import read_digest

    base = load_base(model, device=device, dtype=dtype)
    digest = read_digest(Path(model))
    name = Path(model).name if Path(model).is_dir() else str(model)
    return run_ppo_step(
        config,
        recipe_named(recipe).ppo,
        base,
        model_version=name if digest is None else f"{name}@{digest}",
        on_round=on_round,
    )


def run_ppo_step(
    config: PpoStepConfig,
    recipe: PpoRecipe,
    base: PolicyBase,
    *,
    model_version: str,
    classifier: ResponseClassifier | None = None,
    on_round: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Measure and give the record; `on_round` is called after each round.

    The recipe's advantages must be GAE: the others have no value model. Raises `ValueError` else.
    """
    if recipe.advantages != "gae":
        raise ValueError("a step without a value model has no three models to compare with")
    recipe = config.applied_to(recipe)
    reader = classifier or RulesClassifier()
    three_models = ThreeModelsContender(base, recipe, reader)
    ours = OursContender(base, recipe, reader)
    with tempfile.TemporaryDirectory(prefix="sightward-drawings-") as folder:
        images = draw_set(Path(folder), count=config.drawings, seed=config.seed)
        bench = _Bench(recipe, images, ours, three_models)
        rounds = []
        for number in range(config.rounds + 1):
            rounds.append(bench.round(number))
            on_round()
    measured = rounds[1:]
    return build_record(
        BENCHMARK,
        config={
            "bench": dataclasses.asdict(config),
            "recipe": recipe.describe(),
            "device": str(base.model.device),
            "dtype": str(base.model.dtype).removeprefix("torch."),
        },
        data=DataOrigin("drawings", images.sha256, "train", len(images.examples)),
        model_version=model_version,
        figures=_figures(measured, ours, three_models),
        measurements=[_shown(one) for one in measured],
    )


class _Bench:
    """Both contenders and their prompts."""

    def __init__(
        self,
        recipe: PpoRecipe,
        images: ImageSet,
        ours: OursContender,
        three_models: ThreeModelsContender,
    ) -> None:
        self._recipe, self._images = recipe, images
        self._ours, self._three_models = ours, three_models
        self._asked = AlignmentPrompts(images, recipe.mix, seed=recipe.seed, views=recipe.views)

    def round(self, number: int) -> Round:
        """One step of each, the first to go by turns."""
        batch = self._batch(number)
        self._three_models.models.take(
            {part: self._ours.policy.trainable(part) for part in ("policy", "value")}
        )
        if number % 2 == 0:
            ours = self._ours.step(batch)
            three_models = self._three_models.step(batch)
        else:
            three_models = self._three_models.step(batch)
            ours = self._ours.step(batch)
        return Round(
            ours=ours,
            three_models=three_models,
            ours_cached_encode_s=self._cached_encode_s(batch),
            answer_tokens=int(batch.answers.mask_BA.sum()),
        )

    def _batch(self, number: int) -> Batch:
        prompts = tuple(
            prompt for prompt in self._asked.of_step(number) for _ in range(self._recipe.group_size)
        )
        pictures = DecodedViews(self._images, prompts, seed=self._recipe.seed)
        seeds = row_seeds(self._recipe.seed, number, len(prompts))
        return Batch(
            step=number,
            prompts=prompts,
            pictures=pictures,
            seeds=seeds,
            # Drawn with other seeds than the timed ones: neither has seen them.
            answers=self._ours.answers_to(
                prompts, pictures, row_seeds(self._recipe.seed + 1, number, len(prompts))
            ),
        )

    def _cached_encode_s(self, batch: Batch) -> float | None:
        base = self._ours.policy.base
        if not base.is_reference_vlm or not isinstance(batch.pictures, DecodedViews):
            return None
        import torch

        from server.vlm.pixels import to_pixels

        with torch.no_grad():
            features = {
                name: base.model.embedder.tower(to_pixels(view)[None].to(base.model.device))[0]
                for name, view in batch.pictures.items()
            }
        return self._ours.encode_s(batch, lambda example_id, view: features[example_id, view])


def _figures(
    rounds: Sequence[Round], ours: OursContender, three_models: ThreeModelsContender
) -> dict[str, Any]:
    sides: dict[str, OursContender | ThreeModelsContender] = {
        "ours": ours,
        "three_models": three_models,
    }
    figures: dict[str, Any] = {
        side: {
            "seconds": {
                part: _spread([_step(one, side).seconds[part] for one in rounds]) for part in PARTS
            },
            "step_s": _spread([_step(one, side).total_s for one in rounds]),
            "weights_gib": contender.weights_gib,
            "optimizer_gib": contender.optimizer_gib,
            "peak_gib": _spread_or_none([_step(one, side).peak_gib for one in rounds]),
        }
        for side, contender in sides.items()
    }
    figures["times_faster"] = {
        part: _spread([one.three_models.seconds[part] / one.ours.seconds[part] for one in rounds])
        for part in PARTS
    }
    figures["step_times_faster"] = _spread(
        [one.three_models.total_s / one.ours.total_s for one in rounds]
    )
    cached = [
        one.ours.total_s - one.ours.seconds["encode"] + one.ours_cached_encode_s
        for one in rounds
        if one.ours_cached_encode_s is not None
    ]
    figures["cached"] = (
        {
            "step_s": _spread(cached),
            "step_times_faster": _spread(
                [
                    one.three_models.total_s / total
                    for one, total in zip(rounds, cached, strict=True)
                ]
            ),
        }
        if cached
        else None
    )
    figures["logprob_difference"] = max(one.logprob_difference for one in rounds)
    return figures


def _step(one: Round, side: str) -> Step:
    step: Step = getattr(one, side)
    return step


def _shown(one: Round) -> dict[str, Any]:
    shown: dict[str, Any] = {
        side: {
            "seconds": _step(one, side).seconds,
            "peak_gib": _step(one, side).peak_gib,
            "drawn_tokens": _step(one, side).drawn_tokens,
            **_step(one, side).learnt._asdict(),
        }
        for side in CONTENDERS
    }
    shown["ours_cached_encode_s"] = one.ours_cached_encode_s
    shown["answer_tokens"] = one.answer_tokens
    shown["logprob_difference"] = one.logprob_difference
    return shown


def _spread(numbers: Sequence[float]) -> Mapping[str, float]:
    found: Spread = spread(list(numbers))
    return dataclasses.asdict(found)


def _spread_or_none(numbers: Sequence[float | None]) -> Mapping[str, float] | None:
    known = [number for number in numbers if number is not None]
    return _spread(known) if len(known) == len(numbers) else None
