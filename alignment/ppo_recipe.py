"""PPO recipes: functions that return a complete, frozen configuration."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from alignment.kl import AdaptiveKl, FixedKl, KlController, KlEstimator
from alignment.policy_config import LoraShape, PolicyConfig
from alignment.prompt_sampler import PromptMix
from alignment.recipes_alignment import REFERENCE_LORA, REFERENCE_MIX, REFERENCE_STEPS
from alignment.reward import RewardSpec
from alignment.reward_terms import default_reward, s1_reward

AdvantageMethod = Literal["gae", "rloo", "grpo"]
KlPlace = Literal["reward", "loss"]
SamplerName = Literal["transformers", "vllm"]


@dataclass(frozen=True, slots=True)
class PpoRecipe:
    """A whole PPO run. Names and meanings are the field's; deviations from S1 are in the recipes.

    Rollouts: each step asks `mix.total` prompts, `group_size` times each, and samples answers of at
    most `max_new_tokens`. Pictures are shown in `views` augmented views. `sampler` is the training
    model itself, or "vllm": a second copy in vLLM, in `sampler_gpu_memory` of a GPU's memory.

    Reward: `reward` an answer. `whiten_rewards` scales shaped rewards to variance 1,
    `whiten_advantages` centres them too.

    KL: `kl_coef` times the KL to the reference by `kl_estimator`, which `kl_in` puts into the
    "loss" (differentiated through the policy that learns and averaged over tokens, as GRPO does;
    for k2 and k3) or into the "reward" of each token (classic PPO and S1; for k1: k3 would hardly
    pull there, as `alignment.kl` has it). What is logged, and what stops early, is always k3. With
    a `kl_target` (nats an answer) the coefficient adapts over `kl_horizon` answers.

    Learning: `epochs` over the rollouts in minibatches of `minibatch_size` answers,
    `micro_batch_size` a forward pass. `advantages` is "gae" (with `gamma`, `lam` and the value
    model), or "rloo" or "grpo" (answers of a group against each other, no value model).
    `target_kl` (nats a token) ends the epochs of a step early. `clip`, `value_clip`, `value_coef`
    and `entropy_coef` as in `alignment.losses`. The learning rates rise over `warmup_steps` and
    fall along a cosine.

    Guards: a step whose KL exceeds `max_kl` nats an answer, or `patience_steps` steps in a row in
    which no yes/no question gets an answer, end the run as collapsed.
    """

    name: str
    seed: int
    policy: PolicyConfig
    mix: PromptMix
    views: int
    steps: int
    max_new_tokens: int
    reward: RewardSpec
    group_size: int = 1
    kl_estimator: KlEstimator = "k3"
    kl_in: KlPlace = "loss"
    kl_coef: float = 0.1
    kl_target: float | None = None
    kl_horizon: int = 10_000
    whiten_rewards: bool = False
    whiten_advantages: bool = True
    advantages: AdvantageMethod = "gae"
    gamma: float = 1.0
    lam: float = 1.0
    epochs: int = 2
    minibatch_size: int = 16
    micro_batch_size: int = 16
    target_kl: float | None = 0.1
    clip: float = 0.2
    value_clip: float | None = 0.2
    value_coef: float = 0.1
    entropy_coef: float = 0.0
    lr: float = 1e-4
    value_lr: float = 1e-3
    warmup_steps: int = 5
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    max_kl: float = 50.0
    patience_steps: int = 10
    save_every: int = 20
    sampler: SamplerName = "transformers"
    sampler_gpu_memory: float = 0.4

    def __post_init__(self) -> None:
        answers = self.answers_per_step
        if answers % self.minibatch_size or self.minibatch_size % self.micro_batch_size:
            raise ValueError(
                f"{answers} answers a step, minibatches of {self.minibatch_size} and passes of "
                f"{self.micro_batch_size} don't divide each other"
            )
        if self.advantages != "gae" and self.group_size < 2:
            raise ValueError(
                f"{self.advantages} compares answers to one prompt: group_size must be 2 or more"
            )
        if self.kl_in == "loss" and self.kl_estimator in ("k1", "k1_clamped"):
            raise ValueError(
                f"{self.kl_estimator} in the loss has no gradient that holds the policy: "
                'kl_estimator must be k2 or k3, or kl_in "reward"'
            )
        if min(self.steps, self.epochs, self.max_new_tokens, self.group_size) < 1:
            raise ValueError(f"nothing to do: {self}")

    @property
    def answers_per_step(self) -> int:
        """Answers that a step samples and learns from."""
        return self.mix.total * self.group_size

    def kl_controller(self) -> KlController:
        """The controller of the KL coefficient, at its start."""
        if self.kl_target is None:
            return FixedKl(self.kl_coef)
        return AdaptiveKl(self.kl_coef, target=self.kl_target, horizon=self.kl_horizon)

    def describe(self) -> dict[str, Any]:
        """Every choice as JSON, for a run's record."""
        fields = {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name != "reward"
        }
        fields["policy"], fields["mix"] = asdict(self.policy), asdict(self.mix)
        return fields | {"reward": self.reward.describe()}


def s1_ppo() -> PpoRecipe:
    """[S1]'s PPO for LLaVA-1.5-7B on one GPU of 80 GB: 305 steps of 32, its own reward.

    The paper multiplies rewards by 10 where it does not whiten them and clamps k1 at 0; one
    optimisation epoch over rollouts of one batch keeps the ratio near 1, so its clip does nothing.
    """
    return PpoRecipe(
        name="s1-ppo",
        seed=2024,
        policy=PolicyConfig(
            policy=LoraShape(r=128, alpha=256, dropout=0.05),
            value=LoraShape(r=128, alpha=256, dropout=0.05),
            gradient_checkpointing=True,
        ),
        mix=PromptMix(pictures=32, open_share=1.0),
        views=1,
        steps=305,
        max_new_tokens=512,
        reward=s1_reward(),
        kl_estimator="k1_clamped",
        kl_in="reward",
        kl_coef=0.1,
        epochs=1,
        minibatch_size=32,
        micro_batch_size=4,
        target_kl=None,
        entropy_coef=0.02,
        lr=3e-5,
        value_lr=3e-5,
        warmup_steps=5,
    )


def reference_ppo() -> PpoRecipe:
    """PPO of the reference VLM on two CPU cores, with the absolute reward.

    Adapters begin half-way up the language model, so that a step runs the lower half once. Two
    epochs over each rollout, so that clipping has something to do; words beside pictures, so that
    judging words stays; general questions, so that the rest stays, held by k3 in the loss.
    """
    return PpoRecipe(
        name="reference-ppo",
        seed=2024,
        policy=PolicyConfig(policy=REFERENCE_LORA, value=LoraShape(r=4, alpha=8, from_layer=24)),
        mix=REFERENCE_MIX,
        views=8,
        steps=REFERENCE_STEPS,
        max_new_tokens=16,
        reward=default_reward(),
        kl_coef=0.05,
        epochs=2,
        minibatch_size=16,
        micro_batch_size=16,
        lam=0.95,
        lr=3e-4,
        value_lr=1e-3,
        save_every=8,
    )
