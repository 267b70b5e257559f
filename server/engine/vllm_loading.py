"""Loading a model into vLLM: its arguments on a CPU and on a GPU, and why it can't be loaded."""

import asyncio
import json
import os
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from server.engine.answer_reading import MAX_TOKEN_IDS
from server.engine.cpu_runtime import BLOCK_SIZE, KV_CACHE_GIB, engine_environment, environment
from server.engine.free_memory import free_memory_bytes
from server.engine.model_source import ModelSource, adapted_version, version_of
from server.errors import EngineStartError

_GIB = 1 << 30
_KEPT_PICTURES_GIB = 0.125
"""Pictures that vLLM keeps prepared, in the server and in the engine each, for the questions that
follow the first: seconds' worth. Repeated pictures are the score cache's business, and vLLM's own 4
would let both processes grow for hours."""
_FIT_TO_MEMORY = -1
# The ranks that vLLM sizes its adapter buffers for.
_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a model is loaded.

    `adapter` is the folder of a PEFT LoRA adapter, served live (GPU only). Without `caches` neither
    prompts nor pictures are remembered, which an honest measurement on repeated pictures needs.
    `dtype` is a vLLM name such as "float32" (default: bfloat16 on a CPU, the checkpoint's own on a
    GPU). `max_model_len` is in tokens (default: as long as the model and the memory allow).
    `max_pictures` is how many one conversation may hold. `revision` is a branch, tag or commit of a
    hub model. `further_adapters` of at most `max_adapter_rank` can be served beside that one.
    `further` are arguments of vLLM's `AsyncEngineArgs` that go before all others.
    """

    adapter: Path | None = None
    caches: bool = True
    dtype: str | None = None
    max_model_len: int | None = None
    max_pictures: int = 1
    revision: str | None = None
    further_adapters: int = 0
    max_adapter_rank: int = 64
    further: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A running vLLM engine (`vllm.v1.engine.async_llm.AsyncLLM`) and its exact version.

    `bare_version` is the model's without the adapter; `max_adapters` is how many it serves at once,
    its own among them, none on a CPU.
    """

    llm: Any
    version: str
    bare_version: str
    max_adapters: int = 0


def load_model(source: ModelSource, options: LoadOptions) -> LoadedModel:
    """Load and start; blocks for seconds to minutes. Raises `EngineStartError`."""
    # Two steps: vLLM reads the first settings as it is imported, and only an imported vLLM tells
    # which device it is for.
    is_local = source.folder is not None
    settings = engine_environment(os.environ, on_cpu=False, is_local_model=is_local)
    # vLLM touches names that torch has deprecated; nobody here can act on that.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"vllm\.")
    with environment(settings):
        on_cpu = _is_cpu_build()
        _check_adapter(options.adapter, on_cpu=on_cpu)
        settings = engine_environment(os.environ, on_cpu=on_cpu, is_local_model=is_local)
        with environment(settings):
            if on_cpu:
                _check_memory(source)
            return _start(source, options, on_cpu=on_cpu)


async def shut_down(llm: Any) -> None:
    """Stop a loaded engine and its process."""
    # Its reader must be gone first, or vLLM logs its own shutdown as the death of the engine.
    if llm.output_handler is not None:
        llm.output_handler.cancel()
    await asyncio.to_thread(llm.shutdown)
    # vLLM has closed its sockets by now and leaves the context they belong to open.
    llm.engine_core.resources.ctx.destroy(linger=0)


def engine_arguments(
    source: ModelSource, options: LoadOptions, *, on_cpu: bool
) -> dict[str, object]:
    """The keyword arguments of vLLM's `AsyncEngineArgs`."""
    arguments: dict[str, object] = {
        "model": source.argument,
        "tokenizer": source.argument,
        "revision": options.revision,
        "tokenizer_revision": options.revision,
        "dtype": options.dtype or ("bfloat16" if on_cpu else "auto"),
        "max_model_len": options.max_model_len or _FIT_TO_MEMORY,
        # A question has one picture; room for clips and sound would only cost memory.
        "limit_mm_per_prompt": {"image": options.max_pictures, "video": 0, "audio": 0},
        "max_logprobs": MAX_TOKEN_IDS,
        "logprobs_mode": "raw_logprobs",
        "enable_prefix_caching": options.caches,
        "mm_processor_cache_gb": _KEPT_PICTURES_GIB if options.caches else 0,
        "use_tqdm_on_load": False,
        "enable_log_requests": False,
    }
    if on_cpu:
        # Compiling gained nothing on a CPU and cost a minute at every start.
        arguments |= {"enforce_eager": True, "block_size": BLOCK_SIZE}
    if (adapters := _adapters(options, on_cpu=on_cpu)) > 0:
        arguments |= {
            "enable_lora": True,
            "max_loras": adapters,
            "max_lora_rank": _room_for_ranks(options),
        }
    return arguments | dict(options.further)


def _is_cpu_build() -> bool:
    # vLLM is imported in a thread of its own. It stores import errors of packages that it can do
    # without; they hold the frames of all their callers, and with ours an engine long stopped.
    with ThreadPoolExecutor(max_workers=1) as importing:
        return importing.submit(_import_vllm).result()


def _import_vllm() -> bool:
    """Import what is used of vLLM; returns whether it is built for a CPU."""
    try:
        import vllm.v1.engine.async_llm  # noqa: F401 - its imports are the slow ones
        from vllm.platforms import current_platform
    except ImportError as error:
        raise EngineStartError(
            f"vLLM can't be imported ({error}); install Sightward with its cpu or gpu extra"
        ) from error
    return bool(current_platform.is_cpu())


def _check_adapter(adapter: Path | None, *, on_cpu: bool) -> None:
    if adapter is None:
        return
    if not (adapter / "adapter_config.json").is_file():
        raise EngineStartError(f"{adapter} holds no PEFT adapter: it has no adapter_config.json")
    if on_cpu:
        raise EngineStartError(
            "a live adapter makes every answer about 12 times slower on a CPU; "
            "merge it into the checkpoint and serve the merged one"
        )


def check_further_adapter(adapter: Path, options: LoadOptions, *, max_adapters: int) -> None:
    """Raise `EngineStartError` unless a running engine has room for this adapter."""
    _check_adapter(adapter, on_cpu=_is_cpu_build())
    if max_adapters == 0 or options.further_adapters == 0:
        raise EngineStartError(
            "the engine was started without room for further adapters; set "
            "SIGHTWARD_LIVE_ADAPTERS to how many there are to be, and restart"
        )
    if _lora_rank(adapter) > _room_for_ranks(options):
        raise EngineStartError(
            f"the adapter's rank is above {_room_for_ranks(options)}, for which the engine was "
            "started; set SIGHTWARD_LIVE_ADAPTER_RANK, and restart"
        )


def _adapters(options: LoadOptions, *, on_cpu: bool) -> int:
    """How many adapters are served at once, the model's own among them."""
    if on_cpu:
        return 0  # 12 times slower than a merged checkpoint, and an own one was refused before
    return options.further_adapters + (options.adapter is not None)


def _room_for_ranks(options: LoadOptions) -> int:
    own = 0 if options.adapter is None else _lora_rank(options.adapter)
    further = _buffer_for(options.max_adapter_rank) if options.further_adapters else 0
    return max(own, further)


def _lora_rank(adapter: Path) -> int:
    """The smallest buffer that holds the adapter's rank."""
    try:
        rank = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8")).get("r")
    except (OSError, ValueError, AttributeError) as error:
        raise EngineStartError(f"{adapter}: adapter_config.json can't be read") from error
    return _buffer_for(rank)


def _buffer_for(rank: object) -> int:
    for supported in _LORA_RANKS:
        if isinstance(rank, int) and 0 < rank <= supported:
            return supported
    raise EngineStartError(f"the adapter's rank is {rank!r}; vLLM serves 1 to {_LORA_RANKS[-1]}")


def _check_memory(source: ModelSource) -> None:
    """Refuse before loading what would be killed half way, with the figures to act on."""
    free, weights = free_memory_bytes(), source.weight_bytes()
    if free is None or weights is None:
        return
    cache = int(os.environ.get("VLLM_CPU_KVCACHE_SPACE") or KV_CACHE_GIB) * _GIB
    if weights + cache > free:
        raise EngineStartError(
            f"not enough memory: {weights / _GIB:.1f} GiB of weights and {cache / _GIB:.0f} GiB "
            f"of key-value cache (VLLM_CPU_KVCACHE_SPACE) are needed, {free / _GIB:.1f} GiB is "
            "free; free some, make the cache smaller, or serve a smaller model"
        )


def _start(source: ModelSource, options: LoadOptions, *, on_cpu: bool) -> LoadedModel:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    try:
        config = AsyncEngineArgs(
            **engine_arguments(source, options, on_cpu=on_cpu)
        ).create_engine_config()
    except Exception as error:
        raise EngineStartError(f"vLLM can't serve {source.name}: {_summary(error)}") from error
    if not config.model_config.is_multimodal_model:
        raise EngineStartError(f"{source.name} is no vision-language model: it takes no images")
    version = version_of(source, config.model_config.hf_config)
    try:
        return LoadedModel(
            llm=AsyncLLM.from_vllm_config(config),
            version=adapted_version(version, options.adapter),
            bare_version=version,
            max_adapters=_adapters(options, on_cpu=on_cpu),
        )
    except Exception as error:
        raise EngineStartError(
            f"vLLM could not start {source.name}: {_summary(error)} "
            "(the engine process logged the cause above)"
        ) from error


def _summary(error: Exception) -> str:
    """The first line that says something: pydantic's own first line only counts its errors."""
    text = str(error)
    if isinstance(error, ValidationError):
        text = "; ".join(entry["msg"] for entry in error.errors())
    lines = text.strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
