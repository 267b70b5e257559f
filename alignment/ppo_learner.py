"""One step's learning: epochs of minibatches with the clipped losses, two optimisers.

Policy and value model have learning rates, gradient norms and float32 masters of their own, since
their gradients differ in scale by orders of magnitude.
"""
# Tensor names carry their shapes.
# ruff: noqa: N806

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from alignment.advantages import Advantages
from alignment.losses import kl_loss, policy_loss, value_loss
from alignment.masked import masked_mean
from alignment.optimizer import MasterAdamW
from alignment.policy import Policy
from alignment.ppo_figures import Learnt, Minibatch, Pass, joined, mean_of, summed_up
from alignment.ppo_recipe import PpoRecipe
from alignment.processes import ALONE, Processes
from alignment.rollout import Rollout
from alignment.supervised import schedule


class PpoLearner:
    """Updates a policy from rollouts; its state is all that a resumed run needs of the past.

    Each of several `processes` learns from its part of every minibatch; all take the same step.
    """

    def __init__(self, policy: Policy, recipe: PpoRecipe, processes: Processes = ALONE) -> None:
        self._policy = policy
        self._recipe = recipe
        self._processes = processes
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
        seen: list[Minibatch] = []
        epochs, stopped_early = 0, False
        # Dropout, where a recipe has any, draws from torch's own generator.
        torch.manual_seed(self._dropout_seed(step))
        self._policy.train()
        for epoch in range(recipe.epochs):
            epoch_from = len(seen)
            seen += [
                self._minibatch(rollout, advantages, rows, rate, kl_coef)
                for rows in _minibatches(recipe, step, epoch)
            ]
            approx_kl = mean_of([one.approx_kl for one in seen[epoch_from:]])
            epochs += 1
            if recipe.target_kl is not None and approx_kl > recipe.target_kl:
                stopped_early = epochs < recipe.epochs
                break
        self._policy.train(False)
        return summed_up(
            seen,
            approx_kl=approx_kl,
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
    ) -> Minibatch:
        """One optimiser step; its gradient is the sum over passes, each by its share of tokens."""
        recipe, processes = self._recipe, self._processes
        tokens = int(rollout.experience.sampled.mask_BA[list(rows)].sum())
        parts = self._parts(rollout, rows)
        idle = processes.idle_passes(len(parts))
        passes = [self._backward(rollout, advantages, part, tokens, kl_coef) for part in parts]
        for _ in range(idle):
            self._backward(rollout, advantages, parts[-1], tokens, kl_coef, weight=0.0)
        processes.sum_gradients(self._policy.trainable().values())
        passes = processes.gathered(passes)
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
        return joined(passes, norms["policy"], norms["value"])

    def _parts(self, rollout: Rollout, rows: Sequence[int]) -> list[list[int]]:
        """This process's part of a minibatch, a forward pass at a time."""
        prompts, size = rollout.encoded.prompts, self._recipe.micro_batch_size
        kinds = [prompts[row].has_picture for row in rows]
        mine = [rows[place] for place in self._processes.share(kinds)]
        if not self._processes.shards_base:
            return list(_parts(mine, size))
        # What runs in step with other processes must be one pass of the model, so of one kind.
        apart = rollout.encoded.take(mine).by_kind()
        return [[mine[at] for at in part] for places in apart for part in _parts(places, size)]

    def _dropout_seed(self, step: int) -> int:
        rank = f":{self._processes.rank}" if self._processes.rank else ""
        return random.Random(f"{self._recipe.seed}:learn:{step}{rank}").getrandbits(63)  # noqa: S311

    def _backward(
        self,
        rollout: Rollout,
        advantages: Advantages,
        rows: Sequence[int],
        tokens: int,
        kl_coef: float,
        *,
        weight: float = 1.0,
    ) -> Pass:
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
        (loss * share * weight).backward()  # type: ignore[no-untyped-call]
        return Pass(
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


def _minibatches(recipe: PpoRecipe, step: int, epoch: int) -> Iterator[list[int]]:
    """The step's answers in an order drawn for the epoch, a minibatch at a time."""
    rows = list(range(recipe.answers_per_step))
    random.Random(f"{recipe.seed}:order:{step}:{epoch}").shuffle(rows)  # noqa: S311
    yield from _parts(rows, recipe.minibatch_size)


def _parts(rows: Sequence[int], size: int) -> Iterator[list[int]]:
    for first in range(0, len(rows), size):
        yield list(rows[first : first + size])
