"""One step's learning: epochs of minibatches with the clipped losses, two optimisers.

Policy and value model have learning rates, gradient norms and float32 masters of their own, since
their gradients differ in scale by orders of magnitude.
"""
# Tensor names carry their shapes.
# ruff: noqa: N806

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from alignment.advantages import Advantages
from alignment.losses import kl_loss, policy_loss, value_loss
from alignment.masked import masked_mean
from alignment.optimizer import MasterAdamW
from alignment.policy import Policy
from alignment.ppo_recipe import PpoRecipe
from alignment.rollout import Rollout
from alignment.supervised import schedule


@dataclass(frozen=True, slots=True)
class Learnt:
    """What one step's passes did, averaged over its minibatches; ratios are extremes.

    `approx_kl`, to the policy that answered, is of the last epoch; `kl_loss`, to the reference and
    before its coefficient, is 0 where the KL is in the reward. `epochs` counts those that were
    made; `stopped_early` says that the KL ended them. Gradient norms are before clipping.
    """

    policy_loss: float
    value_loss: float
    kl_loss: float
    entropy: float
    approx_kl: float
    clip_fraction: float
    value_clip_fraction: float
    ratio_mean: float
    ratio_min: float
    ratio_max: float
    policy_grad_norm: float
    value_grad_norm: float
    lr: float
    epochs: int
    stopped_early: bool


class PpoLearner:
    """Updates a policy from rollouts; its state is all that a resumed run needs of the past."""

    def __init__(self, policy: Policy, recipe: PpoRecipe) -> None:
        self._policy = policy
        self._recipe = recipe
        self._optimizers = {
            "policy": MasterAdamW(policy.trainable("policy"), recipe.weight_decay),
            "value": MasterAdamW(policy.trainable("value"), recipe.weight_decay),
        }

    def learn(
        self, rollout: Rollout, advantages: Advantages, step: int, *, kl_coef: float
    ) -> Learnt:
        """Pass over the rollout's answers; raises nothing for bad numbers: the guard looks.

        `kl_coef` is the price of a nat where the recipe has the KL in the loss.
        """
        recipe = self._recipe
        rate = schedule(step, recipe.steps, recipe.warmup_steps)
        seen: list[_Minibatch] = []
        epochs, stopped_early = 0, False
        # Dropout, where a recipe has any, draws from torch's own generator.
        torch.manual_seed(random.Random(f"{recipe.seed}:learn:{step}").getrandbits(63))  # noqa: S311
        self._policy.train()
        for epoch in range(recipe.epochs):
            epoch_from = len(seen)
            seen += [
                self._minibatch(rollout, advantages, rows, rate, kl_coef)
                for rows in _minibatches(recipe, step, epoch)
            ]
            approx_kl = _mean([one.approx_kl for one in seen[epoch_from:]])
            epochs += 1
            if recipe.target_kl is not None and approx_kl > recipe.target_kl:
                stopped_early = epochs < recipe.epochs
                break
        self._policy.train(False)
        return Learnt(
            policy_loss=_mean([one.policy_loss for one in seen]),
            value_loss=_mean([one.value_loss for one in seen]),
            kl_loss=_mean([one.kl_loss for one in seen]),
            entropy=_mean([one.entropy for one in seen]),
            approx_kl=approx_kl,
            clip_fraction=_mean([one.clip_fraction for one in seen]),
            value_clip_fraction=_mean([one.value_clip_fraction for one in seen]),
            ratio_mean=_mean([one.ratio_mean for one in seen]),
            ratio_min=min(one.ratio_min for one in seen),
            ratio_max=max(one.ratio_max for one in seen),
            policy_grad_norm=_mean([one.policy_grad_norm for one in seen]),
            value_grad_norm=_mean([one.value_grad_norm for one in seen]),
            lr=recipe.lr * rate,
            epochs=epochs,
            stopped_early=stopped_early,
        )

    def state_dict(self) -> dict[str, Any]:
        """Both optimisers' masters and moments."""
        return {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore optimisers and the policy's parameters."""
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state[name])

    def _minibatch(
        self,
        rollout: Rollout,
        advantages: Advantages,
        rows: Sequence[int],
        rate: float,
        kl_coef: float,
    ) -> "_Minibatch":
        """One optimiser step; its gradient is the sum over passes, each by its share of tokens."""
        recipe = self._recipe
        tokens = int(rollout.experience.sampled.mask_BA[list(rows)].sum())
        passes = [
            self._backward(rollout, advantages, part, tokens, kl_coef)
            for part in _parts(rows, recipe.micro_batch_size)
        ]
        norms = {
            "policy": self._optimizers["policy"].step(
                lr=recipe.lr * rate, max_grad_norm=recipe.max_grad_norm
            ),
            "value": 0.0,
        }
        if recipe.advantages == "gae":
            norms["value"] = self._optimizers["value"].step(
                lr=recipe.value_lr * rate, max_grad_norm=recipe.max_grad_norm
            )
        return _joined(passes, norms["policy"], norms["value"])

    def _backward(
        self,
        rollout: Rollout,
        advantages: Advantages,
        rows: Sequence[int],
        tokens: int,
        kl_coef: float,
    ) -> "_Pass":
        recipe, old = self._recipe, rollout.experience
        picked = torch.tensor(rows)
        mask_BA = old.sampled.mask_BA[picked]
        answers_BA = old.sampled.answer_ids_BA[picked]
        encoded = rollout.encoded.take(list(rows))
        scored = self._policy.logprobs_of(encoded, answers_BA, mask_BA)
        policy = policy_loss(
            scored.logprobs_BA,
            old.logprobs_BA[picked],
            advantages.advantages_BA[picked],
            mask_BA,
            clip=recipe.clip,
        )
        entropy = masked_mean(scored.entropy_BA, mask_BA)
        loss = policy.loss - recipe.entropy_coef * entropy
        share = float(mask_BA.sum()) / tokens
        distance, value_error, value_clipped = 0.0, 0.0, 0.0
        if recipe.kl_in == "loss":
            kl = kl_loss(
                scored.logprobs_BA,
                old.ref_logprobs_BA[picked],
                mask_BA,
                estimator=recipe.kl_estimator,
            )
            loss = loss + kl_coef * kl
            distance = float(kl.detach())
        if recipe.advantages == "gae":
            value = value_loss(
                self._policy.values_of(encoded, answers_BA, mask_BA),
                old.values_BA[picked],
                advantages.returns_BA[picked],
                mask_BA,
                clip=recipe.value_clip,
            )
            loss = loss + recipe.value_coef * value.loss
            value_error, value_clipped = float(value.loss.detach()), float(value.clip_fraction)
        (loss * share).backward()  # type: ignore[no-untyped-call]
        return _Pass(
            share=share,
            policy_loss=float(policy.loss.detach()),
            value_loss=value_error,
            kl_loss=distance,
            entropy=float(entropy.detach()),
            approx_kl=float(policy.approx_kl),
            clip_fraction=float(policy.clip_fraction),
            value_clip_fraction=value_clipped,
            ratio_mean=float(policy.ratio_mean),
            ratio_min=float(policy.ratio_min),
            ratio_max=float(policy.ratio_max),
        )


@dataclass(frozen=True, slots=True)
class _Pass:
    """Figures of one forward and backward pass; `share` is of its minibatch's tokens."""

    share: float
    policy_loss: float
    value_loss: float
    kl_loss: float
    entropy: float
    approx_kl: float
    clip_fraction: float
    value_clip_fraction: float
    ratio_mean: float
    ratio_min: float
    ratio_max: float


@dataclass(frozen=True, slots=True)
class _Minibatch(_Pass):
    """The same of a whole minibatch, with its gradient norms."""

    policy_grad_norm: float
    value_grad_norm: float


def _joined(passes: Sequence[_Pass], policy_norm: float, value_norm: float) -> _Minibatch:
    def mean(name: str) -> float:
        return sum(one.share * float(getattr(one, name)) for one in passes)

    return _Minibatch(
        share=1.0,
        policy_loss=mean("policy_loss"),
        value_loss=mean("value_loss"),
        kl_loss=mean("kl_loss"),
        entropy=mean("entropy"),
        approx_kl=mean("approx_kl"),
        clip_fraction=mean("clip_fraction"),
        value_clip_fraction=mean("value_clip_fraction"),
        ratio_mean=mean("ratio_mean"),
        ratio_min=min(one.ratio_min for one in passes),
        ratio_max=max(one.ratio_max for one in passes),
        policy_grad_norm=policy_norm,
        value_grad_norm=value_norm,
    )


def _minibatches(recipe: PpoRecipe, step: int, epoch: int) -> Iterator[list[int]]:
    """The step's answers in an order drawn for the epoch, a minibatch at a time."""
    rows = list(range(recipe.answers_per_step))
    random.Random(f"{recipe.seed}:order:{step}:{epoch}").shuffle(rows)  # noqa: S311
    yield from _parts(rows, recipe.minibatch_size)


def _parts(rows: Sequence[int], size: int) -> Iterator[list[int]]:
    for first in range(0, len(rows), size):
        yield list(rows[first : first + size])


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
