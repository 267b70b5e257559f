"""A model's outline: its architecture on torch's meta device, where tensors have shapes alone.

Parameters are counted on the architecture itself, and what autograd keeps for the way back is
counted by letting it keep it: no formula of any family's layers to go stale.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from alignment.policy_base import PolicyBase
from alignment.policy_errors import PolicyModelError

_FLASH = "sightward_outline"


def read_config(model: str | Path) -> Any:
    """The configuration of a checkpoint folder or hub id. Raises PolicyModelError."""
    from transformers import AutoConfig

    from server.vlm.plugin import register_with_transformers

    register_with_transformers()
    try:
        return AutoConfig.from_pretrained(str(model))
    except (OSError, ValueError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
        raise PolicyModelError(str(model), reason) from error


def outline_of(config: Any, *, name: str, dtype: str, on_gpu: bool) -> PolicyBase:
    """A base without weights, processor or prompts, for counting; it attends as training does.

    Raises PolicyModelError for a configuration of no image-text-to-text model.
    """
    from transformers import AttentionInterface, AutoModelForImageTextToText

    from server.vlm.plugin import register_with_transformers

    register_with_transformers()
    AttentionInterface.register(_FLASH, _flash_like)
    try:
        with torch.device("meta"):
            model: Any = AutoModelForImageTextToText.from_config(
                config, dtype=getattr(torch, dtype), attn_implementation="eager"
            )
    except ValueError as error:
        raise PolicyModelError(name, str(error).splitlines()[0]) from error
    model.requires_grad_(False)
    decoder = model.get_decoder()
    if on_gpu:
        decoder.set_attn_implementation(_FLASH)
    return PolicyBase(
        name=name,
        model=model,
        processor=None,
        renderer=None,  # type: ignore[arg-type]
        end_ids=(),
        pad_id=0,
        decoder_name=next(key for key, module in model.named_modules() if module is decoder),
    )


def parameter_bytes(parameters: Iterable[nn.Parameter]) -> int:
    """Bytes of parameters, shared ones once."""
    return sum(parameter.nbytes for parameter in {id(p): p for p in parameters}.values())


def kept_for_backward(base: PolicyBase, *, rows: int, positions: int) -> int:
    """Bytes that autograd keeps of one pass of the language model, adapters attached.

    `base` is an outline (or a model), its language model with LoRA layers that require gradients.
    """
    body = getattr(base.decoder, "model", base.decoder)
    weight = next(body.parameters())
    with weight.device:
        embeddings = torch.zeros(rows, positions, weight_width(base), dtype=weight.dtype)
        # A mask of four axes is taken as it is; any other is looked into, and has no values here.
        mask = torch.zeros(rows, 1, positions, positions, dtype=weight.dtype)
    # Dropout keeps what it dropped.
    body.train()
    weights = {weight.untyped_storage()._cdata for weight in body.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        # A view keeps all of what it is a view of, and several views keep it once.
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        body(inputs_embeds=embeddings, attention_mask=mask, use_cache=False)
    return sum(storage.nbytes() for storage in kept.values())


def weight_width(base: PolicyBase) -> int:
    """The width of the language model."""
    return int(base.model.config.get_text_config().hidden_size)


class _FlashLike(torch.autograd.Function):
    """Keeps what a fused GPU kernel keeps: its inputs, its output and a number a row and head.

    On the meta device torch's own attention would choose the plain kernel, which keeps every weight
    of every pair of positions.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = torch.empty_like(query)
        row_sums = torch.empty(query.shape[:-1], dtype=torch.float32, device=query.device)
        ctx.save_for_backward(query, key, value, out, row_sums)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise NotImplementedError("an outline is for counting")


def _flash_like(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _attention_mask: Tensor | None,
    **_options: Any,
) -> tuple[Tensor, None]:
    """Attention (B, T, heads, D), by its memory alone."""
    # With a mask, as padded batches have one, torch repeats keys and values for every query head.
    groups = query.shape[1] // key.shape[1]
    key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
    attended: Tensor = _FlashLike.apply(query, key, value)  # type: ignore[no-untyped-call]
    return attended.transpose(1, 2).contiguous(), None
