"""The two ways to make a step, each cut into the same parts.

*encode* (tokens, pixels; ours: the tower once), *sample*, *score* (policy, reference, value),
*reward* and *learn*. Each samples answers of its own, at the same temperature and up to the same
length; what is scored and learnt from are answers that are given to both, so that both have the
same work.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from torch import nn

from alignment.advantages import Advantages
from alignment.experience import Experience, Sampled
from alignment.policy import Policy
from alignment.policy_base import PolicyBase
from alignment.policy_inputs import Encoded
from alignment.policy_vision import PictureReader
from alignment.ppo import compare, judge, price
from alignment.ppo_learner import PpoLearner
from alignment.ppo_recipe import PpoRecipe
from alignment.prompts import AlignmentPrompt
from alignment.responses.protocol import ResponseClassifier
from alignment.reward import RewardBatch
from alignment.rollout import Sampler, collect
from alignment.rollout_transformers import TransformersSampler
from benchmarks.ppo_step.three_models import Learned, ThreeModelLearner, ThreeModels
from benchmarks.ppo_step.watch import GIB, StepWatch, weights_gib

PARTS = ("encode", "sample", "score", "reward", "learn")

# A float32 master and AdamW's two moments of every trained number.
_BYTES_A_TRAINED_NUMBER = 12


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """What a step is made of: the prompts, a seed for each, and answers to learn from."""

    step: int
    prompts: tuple[AlignmentPrompt, ...]
    pictures: PictureReader
    seeds: tuple[int, ...]
    answers: Sampled


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One step of one contender. `drawn_tokens` are of its own sampling; `peak_gib` as `StepWatch`
    has it."""

    seconds: dict[str, float]
    peak_gib: float | None
    drawn_tokens: int
    learnt: Learned
    experience: Experience

    @property
    def total_s(self) -> float:
        """All parts together."""
        return sum(self.seconds.values())


class OursContender:
    """`alignment.ppo`'s own pieces."""

    def __init__(self, base: PolicyBase, recipe: PpoRecipe, classifier: ResponseClassifier) -> None:
        self.policy = Policy(base, recipe.policy)
        self._sampler = TransformersSampler(self.policy, max_new_tokens=recipe.max_new_tokens)
        self._learner = PpoLearner(self.policy, recipe)
        self._recipe, self._classifier = recipe, classifier

    @property
    def weights_gib(self) -> float:
        """What the weights take."""
        return weights_gib([self.policy])

    @property
    def optimizer_gib(self) -> float:
        """What the optimisers take."""
        return _optimizer_gib(self.policy.trainable().values())

    def answers_to(
        self,
        prompts: tuple[AlignmentPrompt, ...],
        pictures: PictureReader,
        seeds: Sequence[int],
    ) -> Sampled:
        """Answers for both to learn from."""
        with self.policy.at_rest():
            return self._sampler.sample(prompts, self.policy.encode(prompts, pictures), seeds)

    def encode_s(self, batch: Batch, pictures: PictureReader) -> float:
        """Seconds to encode the batch's prompts from other pictures, e.g. cached features."""
        with StepWatch(self.policy.base.model.device) as watch, self.policy.at_rest():
            self.policy.encode(batch.prompts, pictures)
            watch.lap("encode")
        return watch.seconds["encode"]

    def step(self, batch: Batch) -> Step:
        """Make the step, timed."""
        recipe = self._recipe
        with StepWatch(self.policy.base.model.device) as watch:
            sampler = _TimedSampler(self._sampler, batch.answers, watch)
            rollout = collect(
                self.policy,
                sampler,
                batch.prompts,
                batch.pictures,
                seeds=batch.seeds,
                rows_at_once=recipe.micro_batch_size,
            )
            watch.lap("score")
            advantages = _advantages(recipe, rollout.experience, self._classifier)
            watch.lap("reward")
            learnt = self._learner.learn(rollout, advantages, batch.step, kl_coef=recipe.kl_coef)
            watch.lap("learn")
        return Step(
            seconds=watch.seconds,
            peak_gib=watch.peak_gib,
            drawn_tokens=sampler.drawn_tokens,
            learnt=Learned(
                learnt.policy_loss,
                learnt.value_loss,
                learnt.policy_grad_norm,
                learnt.value_grad_norm,
            ),
            experience=rollout.experience,
        )


class ThreeModelsContender:
    """The loop that most would write; made before the base gets ours' adapters."""

    def __init__(self, base: PolicyBase, recipe: PpoRecipe, classifier: ResponseClassifier) -> None:
        self.models = ThreeModels(base, recipe.policy)
        self._learner = ThreeModelLearner(self.models, recipe)
        self._recipe, self._classifier = recipe, classifier

    @property
    def weights_gib(self) -> float:
        """What the weights take."""
        return weights_gib(self.models.modules())

    @property
    def optimizer_gib(self) -> float:
        """What the optimisers take."""
        trained = [*self.models.trainable("policy").values()]
        return _optimizer_gib([*trained, *self.models.trainable("value").values()])

    def step(self, batch: Batch) -> Step:
        """Make the step, timed."""
        recipe = self._recipe
        with StepWatch(self.models.base.model.device) as watch:
            encoded = self.models.encode(batch.prompts, batch.pictures)
            watch.lap("encode")
            drawn = self.models.sample(encoded, max_new_tokens=recipe.max_new_tokens)
            watch.lap("sample")
            experience = self.models.score(
                encoded, batch.answers, rows_at_once=recipe.micro_batch_size
            )
            watch.lap("score")
            advantages = _advantages(recipe, experience, self._classifier)
            watch.lap("reward")
            learnt = self._learner.learn(encoded, experience, advantages, batch.step)
            watch.lap("learn")
        return Step(
            seconds=watch.seconds,
            peak_gib=watch.peak_gib,
            drawn_tokens=drawn,
            learnt=learnt,
            experience=experience,
        )


class _TimedSampler(Sampler):
    """Draws answers for the clock, and gives those that were prepared."""

    def __init__(self, sampler: Sampler, answers: Sampled, watch: StepWatch) -> None:
        self._sampler, self._answers, self._watch = sampler, answers, watch
        self.drawn_tokens = 0

    def sample(
        self, prompts: Sequence[AlignmentPrompt], encoded: Encoded, seeds: Sequence[int]
    ) -> Sampled:
        """The prepared answers."""
        self._watch.lap("encode")
        drawn = self._sampler.sample(prompts, encoded, seeds)
        self._watch.lap("sample")
        self.drawn_tokens = int(drawn.mask_BA.sum())
        return self._answers


def _optimizer_gib(trained: Iterable[nn.Parameter]) -> float:
    """What masters and moments of the trained numbers take."""
    return sum(parameter.numel() for parameter in trained) * _BYTES_A_TRAINED_NUMBER / GIB


def _advantages(
    recipe: PpoRecipe, experience: Experience, classifier: ResponseClassifier
) -> Advantages:
    sampled = experience.sampled
    scored = recipe.reward.score(
        RewardBatch.of(sampled, judge(classifier, sampled), max_tokens=recipe.max_new_tokens)
    )
    priced = price(recipe, experience, scored, kl_coef=recipe.kl_coef)
    return compare(recipe, experience, priced.rewards_BA)
