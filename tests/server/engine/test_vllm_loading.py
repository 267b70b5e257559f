import json
from pathlib import Path

import pytest

from server.engine import vllm_loading
from server.engine.model_source import ModelSource, find_model
from server.engine.vllm_loading import (
    LoadOptions,
    check_further_adapter,
    engine_arguments,
    load_model,
)
from server.errors import EngineStartError

HUB_MODEL = ModelSource(name="org/model", folder=None)


def adapter_of_rank(folder: Path, rank: object) -> Path:
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
    return folder


def local_model(folder: Path) -> ModelSource:
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(4096))
    return find_model(folder)


def test_on_a_cpu_the_measured_arguments_are_chosen() -> None:
    arguments = engine_arguments(HUB_MODEL, LoadOptions(), on_cpu=True)
    assert arguments["dtype"] == "bfloat16"
    assert arguments["enforce_eager"] is True
    assert arguments["block_size"] == 32
    assert arguments["enable_prefix_caching"] is True
    assert arguments["logprobs_mode"] == "raw_logprobs"


def test_on_a_gpu_vllm_chooses() -> None:
    arguments = engine_arguments(HUB_MODEL, LoadOptions(), on_cpu=False)
    assert arguments["dtype"] == "auto"
    assert "enforce_eager" not in arguments
    assert "block_size" not in arguments


def test_without_caches_neither_prompts_nor_pictures_are_remembered() -> None:
    arguments = engine_arguments(HUB_MODEL, LoadOptions(caches=False), on_cpu=True)
    assert arguments["enable_prefix_caching"] is False
    assert arguments["mm_processor_cache_gb"] == 0


@pytest.mark.parametrize(("rank", "buffer"), [(1, 8), (16, 16), (100, 128), (512, 512)])
def test_the_adapter_buffer_holds_the_rank(tmp_path: Path, rank: int, buffer: int) -> None:
    options = LoadOptions(adapter=adapter_of_rank(tmp_path, rank))
    assert engine_arguments(HUB_MODEL, options, on_cpu=False)["max_lora_rank"] == buffer


@pytest.mark.parametrize("rank", [0, 513, None, "16"])
def test_a_rank_vllm_can_not_serve_is_refused(tmp_path: Path, rank: object) -> None:
    options = LoadOptions(adapter=adapter_of_rank(tmp_path, rank))
    with pytest.raises(EngineStartError, match="rank"):
        engine_arguments(HUB_MODEL, options, on_cpu=False)


def test_a_live_adapter_on_a_cpu_is_refused_and_merging_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_loading, "_is_cpu_build", lambda: True)
    options = LoadOptions(adapter=adapter_of_rank(tmp_path, 16))
    with pytest.raises(EngineStartError, match="merge"):
        load_model(HUB_MODEL, options)


def test_a_folder_without_adapter_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_loading, "_is_cpu_build", lambda: False)
    with pytest.raises(EngineStartError, match=r"no adapter_config\.json"):
        load_model(HUB_MODEL, LoadOptions(adapter=tmp_path))


def test_too_little_memory_is_refused_with_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_loading, "_is_cpu_build", lambda: True)
    monkeypatch.setattr(vllm_loading, "free_memory_bytes", lambda: 1 << 29)
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    with pytest.raises(EngineStartError, match=r"0\.5 GiB is free") as caught:
        load_model(local_model(tmp_path), LoadOptions())
    assert "VLLM_CPU_KVCACHE_SPACE" in caught.value.reason


def test_a_missing_vllm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "vllm.platforms", None)
    with pytest.raises(EngineStartError, match="cpu or gpu extra"):
        load_model(HUB_MODEL, LoadOptions())


@pytest.mark.parametrize(
    ("own_rank", "further", "max_rank", "expected"),
    [
        (None, 0, 64, (None, None)),
        (16, 0, 64, (1, 16)),
        (None, 3, 64, (3, 64)),
        (16, 3, 64, (4, 64)),
        (128, 2, 64, (3, 128)),
        (None, 1, 20, (1, 32)),
    ],
)
def test_room_is_kept_for_further_adapters(
    tmp_path: Path,
    own_rank: int | None,
    further: int,
    max_rank: int,
    expected: tuple[int | None, int | None],
) -> None:
    own = None if own_rank is None else adapter_of_rank(tmp_path, own_rank)
    options = LoadOptions(adapter=own, further_adapters=further, max_adapter_rank=max_rank)
    arguments = engine_arguments(HUB_MODEL, options, on_cpu=False)
    assert (arguments.get("max_loras"), arguments.get("max_lora_rank")) == expected
    assert arguments.get("enable_lora", False) is (expected[0] is not None)
    assert "enable_lora" not in engine_arguments(HUB_MODEL, options, on_cpu=True)


@pytest.mark.parametrize(
    ("on_cpu", "options", "max_adapters", "problem"),
    [
        (True, LoadOptions(further_adapters=2), 0, "merge"),
        (False, LoadOptions(), 1, "SIGHTWARD_LIVE_ADAPTERS"),
        (False, LoadOptions(further_adapters=2, max_adapter_rank=8), 2, "LIVE_ADAPTER_RANK"),
        (False, LoadOptions(further_adapters=2), 2, None),
    ],
)
def test_a_further_adapter_needs_room(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    on_cpu: bool,
    options: LoadOptions,
    max_adapters: int,
    problem: str | None,
) -> None:
    monkeypatch.setattr(vllm_loading, "_is_cpu_build", lambda: on_cpu)
    adapter = adapter_of_rank(tmp_path, 16)
    if problem is None:
        check_further_adapter(adapter, options, max_adapters=max_adapters)
        return
    with pytest.raises(EngineStartError, match=problem):
        check_further_adapter(adapter, options, max_adapters=max_adapters)
