"""Choosing a sampler, and what keeps vLLM from being one, said before anything is started."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from alignment import rollout_vllm
from alignment.policy import Policy
from alignment.policy_base import PolicyBase
from alignment.policy_config import PolicyConfig
from alignment.ppo_recipe import reference_ppo
from alignment.rollout_transformers import TransformersSampler
from alignment.rollout_vllm import VllmSampler, VllmSamplingError, _exchange, _load_options, _pieces
from alignment.samplers import open_sampler
from server.errors import EngineStartError


@pytest.fixture
def policy(make_base: Callable[..., PolicyBase]) -> Policy:
    return Policy(make_base("reference"), PolicyConfig())


def test_the_recipe_picks_the_sampler(policy: Policy, block_pictures: Any) -> None:
    with open_sampler(reference_ppo(), policy, block_pictures) as sampler:
        assert isinstance(sampler, TransformersSampler)


def test_vllm_needs_a_checkpoint_to_load(policy: Policy, block_pictures: Any) -> None:
    recipe = replace(reference_ppo(), sampler="vllm")
    with (
        pytest.raises(EngineStartError, match="no model folder at reference"),
        open_sampler(recipe, policy, block_pictures),
    ):
        pass


def test_a_missing_vllm_is_said_in_one_line(
    policy: Policy, block_pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vllm.v1.engine.async_llm", None)
    (tmp_path / "config.json").write_text("{}")
    policy.base = replace(policy.base, name=str(tmp_path))
    with pytest.raises(EngineStartError, match=r"vLLM can't be imported .*gpu extra"):
        VllmSampler(policy, block_pictures, max_new_tokens=4)


def test_vllm_draws_at_no_temperature_near_zero(
    make_base: Callable[..., PolicyBase], block_pictures: Any
) -> None:
    policy = Policy(make_base("reference"), PolicyConfig(temperature=0.001))
    with pytest.raises(VllmSamplingError, match=r"at temperatures of 0\.01 and above"):
        VllmSampler(policy, block_pictures, max_new_tokens=4)


def test_vllm_serves_one_training_process(
    policy: Policy, block_pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(VllmSamplingError, match="one training process, not 2"):
        VllmSampler(policy, block_pictures, max_new_tokens=4)


@pytest.mark.parametrize(("length", "share"), [(0, 0.4), (4, 0.0), (4, 1.0)])
def test_senseless_samplers_are_refused(
    policy: Policy, block_pictures: Any, length: int, share: float
) -> None:
    with pytest.raises(ValueError, match="can't sample"):
        VllmSampler(policy, block_pictures, max_new_tokens=length, gpu_memory_share=share)


def test_vllm_loads_what_the_policy_was_loaded_from(policy: Policy) -> None:
    """In the same dtype and with the same processor; log-probabilities after temperature."""
    options = {"size": {"longest_edge": 100}}
    policy.base = replace(policy.base, revision="abc", processor_options=options)
    found = _load_options(policy, 0.3)
    assert (found.dtype, found.revision) == ("float32", "abc")
    assert found.further["mm_processor_kwargs"] == options
    assert found.further["gpu_memory_utilization"] == 0.3
    assert found.further["enable_mm_embeds"] is True
    assert found.further["logprobs_mode"] == "processed_logprobs"


def test_pieces_are_bounded_and_no_module_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout_vllm, "_PIECE_BYTES", 100)
    modules = [{f"{n}.a": torch.zeros(10), f"{n}.b": torch.zeros(5)} for n in range(5)]
    pieces = list(_pieces(iter(modules)))
    assert [sorted(piece) for piece in pieces] == [
        ["0.a", "0.b", "1.a", "1.b"],
        ["2.a", "2.b", "3.a", "3.b"],
        ["4.a", "4.b"],
    ]


def test_weights_go_through_memory_only_where_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout_vllm, "_MEMORY_FOLDER", tmp_path)
    assert _exchange(1) == tmp_path
    assert _exchange(1 << 60) is None
    monkeypatch.setattr(rollout_vllm, "_MEMORY_FOLDER", tmp_path / "absent")
    assert _exchange(1) is None
