"""The group methods are compared at as many answers a step, all else equal."""

from dataclasses import replace

import pytest
import torch

from alignment.experience import Experience, Sampled
from alignment.ppo import compare
from alignment.ppo_recipe import reference_ppo
from alignment.prompt_sampler import PromptMix
from alignment.recipes_groups import GroupMethod, in_groups


@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_a_group_method_learns_from_as_many_answers_of_the_same_kinds(method: GroupMethod) -> None:
    ppo = reference_ppo()
    recipe = in_groups(ppo, method)

    assert recipe.answers_per_step == ppo.answers_per_step
    assert recipe.mix.pictures * recipe.group_size == ppo.mix.pictures
    differing = {
        name for name in recipe.__dataclass_fields__ if getattr(recipe, name) != getattr(ppo, name)
    }
    assert differing == {"name", "advantages", "group_size", "whiten_advantages", "mix"}


def test_a_mix_that_is_not_divisible_is_refused() -> None:
    odd = replace(reference_ppo(), mix=PromptMix(pictures=13, words=3))

    with pytest.raises(ValueError, match="4 times each"):
        in_groups(odd, "rloo")


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # Scores 1, 0, 0, 0: less the mean of the other three.
        ("rloo", [1.0, -1 / 3, -1 / 3, -1 / 3]),
        # Less the mean of all four (0.25), over their standard deviation (0.5).
        ("grpo", [1.5, -0.5, -0.5, -0.5]),
    ],
)
def test_answers_to_one_prompt_are_compared_with_each_other(
    method: str, expected: list[float]
) -> None:
    mask = torch.tensor([[True, True], [True, False], [True, True], [True, False]])
    rewards = torch.tensor([[0.25, 0.75], [0.0, 9.0], [0.0, 0.0], [0.0, 9.0]]) * mask
    zeros = torch.zeros(4, 2)
    sampled = Sampled(
        prompts=(),
        answer_ids_BA=torch.zeros(4, 2, dtype=torch.long),
        mask_BA=mask,
        has_end_B=mask.any(dim=1),
        sampler_logprobs_BA=zeros,
        texts=("", "", "", ""),
    )
    recipe = in_groups(reference_ppo(), method)  # type: ignore[arg-type]

    found = compare(recipe, Experience(sampled, zeros, zeros, zeros), rewards).advantages_BA

    torch.testing.assert_close(found, torch.tensor(expected)[:, None] * mask, atol=1e-3, rtol=0)
