"""One copy of the base in three roles: two adapters on its language model, and none.

PEFT's own `set_adapter` also freezes every adapter that it switches off. Here both are trained, and
one may be switched while the other still waits for its backward pass, so the switch is made on the
layers alone and touches no `requires_grad`.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from alignment.policy_base import PolicyBase
from alignment.policy_config import LoraShape, PolicyConfig, Role
from alignment.policy_errors import PolicyModelError
from alignment.policy_trunk import Layers

ADAPTERS: tuple[Role, ...] = ("policy", "value")


class Roles:
    """Which adapter the layers of a model use."""

    def __init__(self, model: nn.Module) -> None:
        self._layers: list[Any] = [
            module for module in model.modules() if isinstance(module, BaseTunerLayer)
        ]
        self._switch("policy")

    @contextmanager
    def taking(self, role: Role) -> Iterator[None]:
        """Let the model be in `role` meanwhile."""
        before = self._now
        self._switch(role)
        try:
            yield
        finally:
            self._switch(before)

    def checkpoint_contexts(
        self,
    ) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """For `torch.utils.checkpoint`: a layer is computed again in the role it first had.

        Backward runs when the model may long be in another role, and would then take the wrong
        adapter's activations.
        """
        return nullcontext(), self.taking(self._now)

    def _switch(self, role: Role) -> None:
        self._now: Role = role
        for layer in self._layers:
            layer._disable_adapters = role == "reference"
            if role != "reference":
                layer._active_adapter = [role]


def add_adapters(base: PolicyBase, config: PolicyConfig) -> Any:
    """The base with fresh adapters "policy" and "value", both trainable, as a `PeftModel`.

    Both begin as no change at all (B is zero). Raises PolicyModelError when a target names no layer
    of the language model.
    """
    weight = next(base.model.parameters())
    dtype = weight.dtype if config.adapter_dtype is None else getattr(torch, config.adapter_dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        try:
            model = get_peft_model(
                base.model,
                lora_config(base, config.policy),
                adapter_name="policy",
                autocast_adapter_dtype=False,
            )
            model.add_adapter(
                "value", lora_config(base, config.value), autocast_adapter_dtype=False
            )
        except ValueError as error:
            raise PolicyModelError(base.name, str(error).splitlines()[0]) from error
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.to(dtype)
            parameter.requires_grad_(True)
    return model


def adapter_of(model: PeftModel, adapter: Role) -> dict[str, nn.Parameter]:
    """An adapter's parameters by name."""
    return {
        name: parameter for name, parameter in model.named_parameters() if f".{adapter}." in name
    }


def lora_config(base: PolicyBase, shape: LoraShape) -> LoraConfig:
    """The adapter as PEFT takes it. Raises PolicyModelError where no layer is left for it."""
    # Vision towers name their layers alike; a pattern, unlike names, keeps to the language model.
    inside = re.escape(base.decoder_name)
    targets = "|".join(re.escape(target) for target in shape.targets)
    where = r"(?:.*\.)?"
    if shape.from_layer:
        count = len(Layers(base))
        if shape.from_layer >= count:
            raise PolicyModelError(
                base.name, f"it has {count} layers: no adapter can begin at {shape.from_layer}"
            )
        numbers = "|".join(str(number) for number in range(shape.from_layer, count))
        where = rf"(?:.*\.)?layers\.(?:{numbers})\.(?:.*\.)?"
    return LoraConfig(
        r=shape.r,
        lora_alpha=shape.alpha,
        lora_dropout=shape.dropout,
        target_modules=rf"{inside}\.{where}(?:{targets})",
    )
