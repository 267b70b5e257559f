"""Loading a model with transformers: which one it is, whether it may be, and why it can't be."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.engine.free_memory import free_memory_bytes
from server.engine.hf_adapters import Adapter, AutoAdapter
from server.engine.hf_processors import load_processor, pad_left
from server.engine.hf_prompts import PromptRenderer
from server.engine.hf_remote_adapters import own_adapter
from server.engine.hf_remote_code import check_own_code, own_code
from server.engine.model_source import ModelSource, version_of
from server.errors import EngineStartError, SightwardError
from server.freed_memory import keep_freed_memory

_GIB = 1 << 30
_DTYPES = ("float32", "bfloat16", "float16")
_AUTO_MODELS = ("AutoModelForImageTextToText", "AutoModelForCausalLM", "AutoModel")
_WEIGHT_PATTERNS = ("*.safetensors", "*.bin")


@dataclass(frozen=True, slots=True)
class HfOptions:
    """How a model is loaded with transformers.

    `adapter` is the folder of a PEFT LoRA adapter, merged into the weights. `device` is a torch
    name (default: the GPU where there is one). `dtype` is "float32", "bfloat16" or "float16"
    (default: bfloat16 on a GPU, float32 on a CPU). `revision` is the commit of a hub model.
    `tokenizer` is a hub id or folder for a model that has none of its own. `trust_remote_code` lets
    the checkpoint's own code run, if `revision` pins it. `max_model_len` shortens the context, in
    tokens.
    """

    adapter: Path | None = None
    device: str | None = None
    dtype: str | None = None
    revision: str | None = None
    tokenizer: str | None = None
    trust_remote_code: bool = False
    max_model_len: int | None = None


@dataclass(frozen=True, slots=True)
class LoadedHf:
    """A model that can be asked.

    `max_tokens` is its context length (None: no limit known), `end_ids` the tokens that end an
    answer, `recognition_token_ids` and `safety_token_ids` the configuration's entries of that name.
    """

    adapter: Adapter
    version: str
    max_tokens: int | None
    end_ids: frozenset[int]
    recognition_token_ids: object
    safety_token_ids: object


def load_hf(source: ModelSource, options: HfOptions) -> LoadedHf:
    """Load a model and what it is asked with; blocks. Raises `EngineStartError`."""
    try:
        from server.vlm.plugin import register_with_transformers

        register_with_transformers()
        with _no_progress_bars():
            return _load(source, options)
    except SightwardError:
        raise
    except ImportError as error:
        raise EngineStartError(f"{source.name} can't be loaded: {_first_line(error)}") from error
    except Exception as error:
        raise EngineStartError(
            f"transformers can't load {source.name}: {_explain(error)}"
        ) from error


def _load(source: ModelSource, options: HfOptions) -> LoadedHf:
    from transformers import AutoConfig, PreTrainedConfig

    _check_adapter(options.adapter)
    raw, _ = PreTrainedConfig.get_config_dict(source.argument, revision=options.revision)
    code = own_code(raw)
    if code:
        check_own_code(source, code, trusted=options.trust_remote_code, revision=options.revision)
    # A folder's own digest pins it; the hub's commit must be said again for every file.
    revision = options.revision if source.folder is None else None
    where: dict[str, Any] = {"trust_remote_code": bool(code), "revision": revision}
    if code:
        where["code_revision"] = revision
    config = AutoConfig.from_pretrained(source.argument, **where)
    device, dtype = _device_and_dtype(options)
    if device == "cpu":
        keep_freed_memory()
    _check_memory(source, dtype, on_cpu=device == "cpu")
    model = _load_model(source, config, code, device=device, dtype=dtype, **where)
    if options.adapter is not None:
        model = _merged(model, options.adapter)
    _write_rows(model, source, config, revision)
    adapter, end_ids = _adapter_for(source, options, model, config, code, where)
    return LoadedHf(
        adapter=adapter,
        version=version_of(source, config, options.adapter),
        max_tokens=_context_tokens(config, options.max_model_len),
        end_ids=end_ids,
        recognition_token_ids=getattr(config, "recognition_token_ids", None),
        safety_token_ids=getattr(config, "safety_token_ids", None),
    )


def _load_model(
    source: ModelSource,
    config: Any,
    code: Mapping[str, str],
    *,
    device: str,
    dtype: str,
    **where: Any,
) -> Any:
    import torch
    import transformers

    if code:
        auto = next((name for name in _AUTO_MODELS if name in code), None)
    else:
        known = transformers.AutoModelForImageTextToText._model_mapping
        auto = _AUTO_MODELS[0] if type(config) in known else None
    if auto is None:
        raise EngineStartError(
            f"{source.name} ({config.model_type or 'no model type'}) is no vision-language model "
            "that transformers can load"
        )
    model = getattr(transformers, auto).from_pretrained(
        source.argument,
        config=config,
        dtype=getattr(torch, dtype),
        device_map=None if device == "cpu" else {"": device},
        **where,
    )
    return model.eval()


def _write_rows(model: Any, source: ModelSource, config: Any, revision: str | None) -> None:
    """Let a base with attached safety modules say what its configuration promises."""
    if getattr(config, "safety", None) is None:
        return
    from server.vlm.attach.row_writing import is_attached, write_rows_of

    if is_attached(config):
        write_rows_of(model, source.argument, revision)


def _adapter_for(
    source: ModelSource,
    options: HfOptions,
    model: Any,
    config: Any,
    code: Mapping[str, str],
    where: Mapping[str, Any],
) -> tuple[Adapter, frozenset[int]]:
    """The adapter, and the tokens that end an answer."""
    from transformers import AutoTokenizer

    if code and "AutoProcessor" not in code:
        # Another repository's tokenizer is data: neither this one's code nor its revision.
        elsewhere = options.tokenizer is not None
        tokenizer = AutoTokenizer.from_pretrained(
            options.tokenizer if elsewhere else source.argument, **({} if elsewhere else where)
        )
        pad_left(tokenizer)
        own = own_adapter(model, tokenizer)
        return own, _end_ids(model, config, tokenizer) | own.extra_end_ids
    processor = load_processor(source.argument, config, **where)
    renderer = PromptRenderer(processor, config.model_type)
    end_ids = _end_ids(model, config, processor.tokenizer)
    return AutoAdapter(model, processor, renderer, end_ids), end_ids


def _end_ids(model: Any, config: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that the checkpoint says ends an answer."""
    found: set[object] = set()
    for owner in (
        getattr(model, "generation_config", None),
        config,
        config.get_text_config(),
        tokenizer,
    ):
        stated = getattr(owner, "eos_token_id", None)
        found.update(stated if isinstance(stated, list | tuple) else [stated])
    return frozenset(i for i in found if isinstance(i, int) and i >= 0)


def _context_tokens(config: Any, asked: int | None) -> int | None:
    stated = getattr(config.get_text_config(), "max_position_embeddings", None)
    known = [n for n in (stated, asked) if isinstance(n, int) and n > 0]
    return min(known) if known else None


def _device_and_dtype(options: HfOptions) -> tuple[str, str]:
    import torch

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = options.dtype or ("float32" if device == "cpu" else "bfloat16")
    if dtype not in _DTYPES:
        raise EngineStartError(f"unknown dtype {dtype!r}; known: {', '.join(_DTYPES)}")
    return device, dtype


def _check_memory(source: ModelSource, dtype: str, *, on_cpu: bool) -> None:
    """Refuse a local checkpoint that would be killed half way, with the figures to act on."""
    if source.folder is None or not on_cpu:
        return
    files = next((f for p in _WEIGHT_PATTERNS if (f := list(source.folder.glob(p)))), [])
    # Checkpoints are published in two bytes a parameter; float32 doubles them.
    weights = sum(file.stat().st_size for file in files) * (2 if dtype == "float32" else 1)
    free = free_memory_bytes()
    if free is not None and weights > free:
        raise EngineStartError(
            f"not enough memory: up to {weights / _GIB:.1f} GiB of weights in {dtype}, "
            f"{free / _GIB:.1f} GiB is free"
        )


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Keep transformers' bars out of the caller's own display."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _check_adapter(adapter: Path | None) -> None:
    if adapter is not None and not (adapter / "adapter_config.json").is_file():
        raise EngineStartError(f"{adapter} holds no PEFT adapter: it has no adapter_config.json")


def _merged(model: Any, adapter: Path) -> Any:
    """The model with a LoRA adapter's changes in its weights: as fast as without one."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().eval()


def _explain(error: Exception) -> str:
    if type(error).__name__ == "GatedRepoError":
        return (
            "access is gated; ask for it on the model's page of the hub and set HF_TOKEN to the "
            "token of that account"
        )
    return f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "no reason given")
