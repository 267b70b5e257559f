"""The policy as plain weights: loaded into a plain model they say what the policy says."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from alignment.policy import Policy
from alignment.policy_base import PolicyBase
from alignment.policy_config import LoraShape, PolicyConfig
from alignment.policy_merged import merged_modules
from alignment.prompts import AlignmentPrompt

PROMPTS = (
    AlignmentPrompt("a", "Is this picture fine?", "p1"),
    AlignmentPrompt("b", "Is a kitten fine?", None),
)
ANSWERS = torch.tensor([[5, 9, 3], [7, 2, 8]])
MASK = torch.ones(2, 3, dtype=torch.bool)


def moved(policy: Policy) -> Policy:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return policy


def merged(policy: Policy) -> dict[str, torch.Tensor]:
    return {name: value for part in merged_modules(policy) for name, value in part.items()}


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "idefics3", "reference"])
def test_a_plain_model_with_the_merged_weights_is_the_policy(
    family: str, make_base: Callable[..., PolicyBase], block_pictures: Any
) -> None:
    policy = moved(Policy(make_base(family), PolicyConfig(length_multiple=8)))
    plain_base = make_base(family)
    problems = plain_base.model.load_state_dict(merged(policy), strict=False)
    assert problems.unexpected_keys == []
    plain = Policy(plain_base, PolicyConfig(length_multiple=8))
    with policy.at_rest(), plain.at_rest():
        encoded = policy.encode(PROMPTS, block_pictures)
        expected = policy.logprobs_of(encoded, ANSWERS, MASK)
        before = policy.logprobs_of(encoded, ANSWERS, MASK, role="reference")
        found = plain.logprobs_of(encoded, ANSWERS, MASK)
    torch.testing.assert_close(found.logprobs_BA, expected.logprobs_BA, atol=1e-4, rtol=1e-4)
    assert float((expected.logprobs_BA - before.logprobs_BA).abs().max()) > 0.1


def test_modules_come_whole_and_others_not_at_all(make_base: Callable[..., PolicyBase]) -> None:
    """Whoever joins query, key and value into one matrix needs all three."""
    base = make_base("reference")
    plain = {name: value.clone() for name, value in base.model.named_parameters()}
    shape = LoraShape(r=2, alpha=2, targets=("q_proj",))
    policy = moved(Policy(base, PolicyConfig(policy=shape, value=shape)))
    weights = merged(policy)
    block = "language_model.model.layers.0.self_attn"
    ours = {name for name in weights if name.startswith(f"{block}.")}
    assert ours == {f"{block}.{part}_proj.weight" for part in "qkvo"}
    assert len(weights) == 2 * len(ours)
    for name, value in weights.items():
        assert value.dtype == plain[name].dtype
        assert torch.equal(value, plain[name]) == ("q_proj" not in name)
        assert not value.requires_grad


def test_merging_leaves_the_policy_as_it_was(make_base: Callable[..., PolicyBase]) -> None:
    policy = moved(Policy(make_base("reference"), PolicyConfig()))
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    for value in merged(policy).values():
        assert value.isfinite().all()
    assert all(torch.equal(before[name], now) for name, now in policy.state_dict().items())


@pytest.mark.parametrize(("policy_from", "value_from"), [(1, 0), (0, 1)])
def test_adapters_may_begin_at_different_layers(
    make_base: Callable[..., PolicyBase], policy_from: int, value_from: int
) -> None:
    config = PolicyConfig(
        policy=LoraShape(r=2, alpha=2, from_layer=policy_from),
        value=LoraShape(r=2, alpha=2, from_layer=value_from),
    )
    policy = moved(Policy(make_base("reference"), config))
    layers = {name.split("layers.")[1][0] for name in merged(policy)}
    assert layers == {str(number) for number in range(policy_from, 2)}
