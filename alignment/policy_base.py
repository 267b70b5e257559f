"""The base under a policy: any image-text-to-text model of transformers, or the reference VLM.

What a policy needs of it beyond the weights: how it is asked (prompt format, tokenizer), which
tokens end an answer, its body (everything up to the last hidden state) and its projection to the
vocabulary, apart from each other, so that only the positions of answers are projected.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from alignment.policy_errors import PolicyModelError
from server.concepts.probes import YES_NO_OPTIONS
from server.engine.answer_tokens import AnswerTokens
from server.engine.hf_processors import load_processor
from server.engine.hf_prompts import PromptRenderer
from server.vlm.config import MODEL_TYPE

# Multiplied into some language models' logits; reading past one would misread every probability.
_UNREAD_SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier")


@dataclass(frozen=True, slots=True)
class PolicyBase:
    """A loaded model and how it is asked.

    `model` is frozen; `decoder_name` names its language model among its modules. `end_ids` end an
    answer, ascending; `pad_id` fills up.
    """

    name: str
    model: Any
    processor: Any
    renderer: PromptRenderer
    end_ids: tuple[int, ...]
    pad_id: int
    decoder_name: str
    revision: str | None = None
    processor_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tokenizer(self) -> Any:
        """The processor's tokenizer."""
        return self.processor.tokenizer

    @property
    def is_reference_vlm(self) -> bool:
        """Whether it is this product's own model, which reads cached tower features."""
        return bool(self.model.config.model_type == MODEL_TYPE)

    @property
    def decoder(self) -> nn.Module:
        """The language model, where adapters go."""
        module: nn.Module = self.model.get_submodule(self.decoder_name)
        return module

    def projection(self) -> Callable[[Tensor], Tensor]:
        """Last hidden states (..., H) to logits (..., V), as the model's own forward pass does."""
        if self.is_reference_vlm:
            logits_of: Callable[[Tensor], Tensor] = self.model.logits_of
            return logits_of
        head = self.model.get_output_embeddings()
        cap = getattr(self.model.config.get_text_config(), "final_logit_softcapping", None)
        if cap is None:
            return lambda hidden: head(hidden)
        return lambda hidden: cap * (head(hidden) / cap).tanh()


def load_base(
    model: str | Path,
    *,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    processor_options: Mapping[str, Any] | None = None,
) -> PolicyBase:
    """Load a checkpoint folder or hub id.

    `device` and `dtype` are torch names (default: bfloat16 on the GPU where there is one, else
    bfloat16 on the CPU). `processor_options` go to its processor, e.g. to bound pictures' sizes.
    Raises PolicyModelError and what `base_of` raises.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    from server.vlm.plugin import register_with_transformers

    register_with_transformers()
    name = str(model)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        config = AutoConfig.from_pretrained(name, revision=revision)
        processor = load_processor(name, config, revision=revision, **(processor_options or {}))
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            name,
            config=config,
            revision=revision,
            dtype=getattr(torch, dtype or "bfloat16"),
            # Measured on two cores: masked bf16 SDPA takes four times as long backward.
            attn_implementation="eager" if device == "cpu" else None,
        )
    except (OSError, ValueError, ImportError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
        raise PolicyModelError(name, reason) from error
    return replace(
        base_of(loaded.to(device), processor, name=name),
        revision=revision,
        processor_options=dict(processor_options or {}),
    )


def base_of(model: Any, processor: Any, *, name: str | None = None) -> PolicyBase:
    """Take a loaded model as a base: it is frozen and put into evaluation mode.

    Raises PolicyModelError for an architecture that can't be aligned here, EngineStartError for one
    that nothing says how to ask, OptionWithoutTokenError for a tokenizer without "yes" or "no".
    """
    from transformers import GenerationConfig

    name = name or type(model).__name__
    config = model.config
    AnswerTokens(processor.tokenizer).of_all(YES_NO_OPTIONS)
    renderer = PromptRenderer(processor, config.model_type)
    decoder = model.get_decoder()
    if decoder is model or config.is_encoder_decoder:
        raise PolicyModelError(name, f"no language model of its own is in a {type(model).__name__}")
    if model.base_model is model and config.model_type != MODEL_TYPE:
        raise PolicyModelError(
            name, f"{type(model).__name__} has no body that runs apart from its vocabulary"
        )
    scales = [
        scale
        for scale in _UNREAD_SCALES
        if getattr(config.get_text_config(), scale, None) not in (None, 1, 1.0)
    ]
    if scales:
        raise PolicyModelError(name, f"its logits are scaled by {', '.join(scales)}")
    end_ids = _end_ids(model, processor.tokenizer)
    if not end_ids:
        raise PolicyModelError(name, "nothing says which token ends an answer")
    pad_id = processor.tokenizer.pad_token_id
    pad_id = end_ids[0] if pad_id is None else int(pad_id)
    # Penalties and top-k of the checkpoint's own would draw from another distribution than the one
    # that is trained. A model that wraps another generates through it, with that one's settings.
    plain = GenerationConfig(eos_token_id=list(end_ids), pad_token_id=pad_id)
    for module in model.modules():
        if getattr(module, "generation_config", None) is not None:
            module.generation_config = plain
    # The last position's state, cut out of a batch, is not contiguous, and torch would copy the
    # whole projection once a row to multiply it: 5 of 9 seconds of a rollout on two cores.
    model.get_output_embeddings().register_forward_pre_hook(_contiguous)
    model.requires_grad_(False)
    model.eval()
    return PolicyBase(
        name=name,
        model=model,
        processor=processor,
        renderer=renderer,
        end_ids=end_ids,
        pad_id=pad_id,
        decoder_name=next(key for key, module in model.named_modules() if module is decoder),
    )


def _contiguous(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0].contiguous(), *inputs[1:])


def _end_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Every token that the checkpoint says ends an answer."""
    found: set[object] = set()
    text_config = model.config.get_text_config()
    for owner in (model.generation_config, model.config, text_config, tokenizer):
        stated = getattr(owner, "eos_token_id", None)
        found.update(stated if isinstance(stated, list | tuple) else [stated])
    return tuple(sorted(i for i in found if isinstance(i, int) and i >= 0))
