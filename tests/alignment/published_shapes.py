"""The sizes of published checkpoints, by hub id, as configurations: what a hub would answer."""

from collections.abc import Callable
from typing import Any


def _llama(**sizes: Any) -> dict[str, Any]:
    return {"model_type": "llama", "tie_word_embeddings": False, **sizes}


def _llava_7b() -> Any:
    from transformers import LlavaConfig

    return LlavaConfig(
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 336,
            "patch_size": 14,
            "projection_dim": 768,
        },
        text_config=_llama(
            vocab_size=32064,
            hidden_size=4096,
            intermediate_size=11008,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=32,
        ),
    )


def _qwen2_5_vl(**text: Any) -> Any:
    from transformers import Qwen2_5_VLConfig

    return Qwen2_5_VLConfig(
        text_config={"model_type": "qwen2_5_vl_text", **text},
        vision_config={
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "out_hidden_size": text["hidden_size"],
        },
        tie_word_embeddings=text["tie_word_embeddings"],
    )


def _qwen2_5_vl_3b() -> Any:
    return _qwen2_5_vl(
        vocab_size=151936,
        hidden_size=2048,
        intermediate_size=11008,
        num_hidden_layers=36,
        num_attention_heads=16,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )


def _qwen2_5_vl_7b() -> Any:
    return _qwen2_5_vl(
        vocab_size=152064,
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        tie_word_embeddings=False,
    )


def _qwen3(
    width: int, inner: int, layers: int, heads: int, *, tied: bool, kind: str = "qwen3"
) -> dict[str, Any]:
    return {
        "model_type": kind,
        "vocab_size": 151936,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "tie_word_embeddings": tied,
    }


def _qwen3_vl(*sizes: int, tied: bool, large_tower: bool = False) -> Any:
    from transformers import Qwen3VLConfig

    tower = (
        {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304}
        if large_tower
        else {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096}
    )
    layers = [8, 16, 24] if large_tower else [5, 11, 17]
    text = _qwen3(*sizes, tied=tied, kind="qwen3_vl_text")
    return Qwen3VLConfig(
        text_config=text,
        vision_config={
            **tower,
            "num_heads": 16,
            "out_hidden_size": text["hidden_size"],
            "deepstack_visual_indexes": layers,
        },
        tie_word_embeddings=tied,
    )


def _internvl(*sizes: int, tied: bool) -> Any:
    from transformers import InternVLConfig

    return InternVLConfig(
        vision_config={
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "attention_bias": True,
        },
        text_config=_qwen3(*sizes, tied=tied),
        tie_word_embeddings=tied,
    )


def _smolvlm(
    width: int,
    inner: int,
    layers: int,
    heads: tuple[int, int],
    tower: tuple[int, int, int, int],
    *,
    side: int,
    patch: int,
    merged: int,
) -> Any:
    from transformers import Idefics3Config

    return Idefics3Config(
        text_config=_llama(
            vocab_size=49280,
            hidden_size=width,
            intermediate_size=inner,
            num_hidden_layers=layers,
            num_attention_heads=heads[0],
            num_key_value_heads=heads[1],
        ),
        vision_config={
            "hidden_size": tower[0],
            "intermediate_size": tower[1],
            "num_hidden_layers": tower[2],
            "num_attention_heads": tower[3],
            "image_size": side,
            "patch_size": patch,
        },
        scale_factor=merged,
        tie_word_embeddings=False,
    )


_BASE = (768, 3072, 12, 12)
_SO400M = (1152, 4304, 27, 16)

SHAPES: dict[str, Callable[[], Any]] = {
    "llava-hf/llava-1.5-7b-hf": _llava_7b,
    "Qwen/Qwen2.5-VL-3B-Instruct": _qwen2_5_vl_3b,
    "Qwen/Qwen2.5-VL-7B-Instruct": _qwen2_5_vl_7b,
    "Qwen/Qwen3-VL-2B-Instruct": lambda: _qwen3_vl(2048, 6144, 28, 16, tied=True),
    "Qwen/Qwen3-VL-4B-Instruct": lambda: _qwen3_vl(2560, 9728, 36, 32, tied=True),
    "Qwen/Qwen3-VL-8B-Instruct": lambda: _qwen3_vl(
        4096, 12288, 36, 32, tied=False, large_tower=True
    ),
    "OpenGVLab/InternVL3_5-1B-HF": lambda: _internvl(1024, 3072, 28, 16, tied=False),
    "OpenGVLab/InternVL3_5-2B-HF": lambda: _internvl(2048, 6144, 28, 16, tied=False),
    "OpenGVLab/InternVL3_5-8B-HF": lambda: _internvl(4096, 12288, 36, 32, tied=False),
    "HuggingFaceTB/SmolVLM-256M-Instruct": lambda: _smolvlm(
        576, 1536, 30, (9, 3), _BASE, side=512, patch=16, merged=4
    ),
    "HuggingFaceTB/SmolVLM-500M-Instruct": lambda: _smolvlm(
        960, 2560, 32, (15, 5), _BASE, side=512, patch=16, merged=4
    ),
    "HuggingFaceTB/SmolVLM-Instruct": lambda: _smolvlm(
        2048, 8192, 24, (32, 32), _SO400M, side=384, patch=14, merged=3
    ),
}
