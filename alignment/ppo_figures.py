"""What a step's learning did, from its passes through minibatches to one line of figures."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pass:
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
class Minibatch(Pass):
    """The same of a whole minibatch, with its gradient norms."""

    policy_grad_norm: float
    value_grad_norm: float


def joined(passes: Sequence[Pass], policy_norm: float, value_norm: float) -> Minibatch:
    """One minibatch of its passes, in whichever process each was made."""

    def mean(name: str) -> float:
        return sum(one.share * float(getattr(one, name)) for one in passes)

    return Minibatch(
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


def summed_up(
    seen: Sequence[Minibatch], *, approx_kl: float, lr: float, epochs: int, stopped_early: bool
) -> Learnt:
    """Means over a step's minibatches, and the extremes of its ratios."""
    return Learnt(
        policy_loss=mean_of([one.policy_loss for one in seen]),
        value_loss=mean_of([one.value_loss for one in seen]),
        kl_loss=mean_of([one.kl_loss for one in seen]),
        entropy=mean_of([one.entropy for one in seen]),
        approx_kl=approx_kl,
        clip_fraction=mean_of([one.clip_fraction for one in seen]),
        value_clip_fraction=mean_of([one.value_clip_fraction for one in seen]),
        ratio_mean=mean_of([one.ratio_mean for one in seen]),
        ratio_min=min(one.ratio_min for one in seen),
        ratio_max=max(one.ratio_max for one in seen),
        policy_grad_norm=mean_of([one.policy_grad_norm for one in seen]),
        value_grad_norm=mean_of([one.value_grad_norm for one in seen]),
        lr=lr,
        epochs=epochs,
        stopped_early=stopped_early,
    )


def mean_of(numbers: Sequence[float]) -> float:
    """The plain mean."""
    return sum(numbers) / len(numbers)
