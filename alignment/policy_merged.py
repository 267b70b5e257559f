"""The policy as plain weights: its adapter added into the layers that it changes, and no others.

The sum is rounded to the base's dtype, in bfloat16 by seeded chance (`server.vlm.rounding`): to the
nearest, most of what was trained would be lost.
"""

from collections.abc import Iterator

import torch
from peft.tuners.lora import Linear
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from alignment.policy import Policy
from alignment.policy_errors import PolicyModelError
from server.vlm.rounding import rounded

_ADAPTER = "policy"


def merged_modules(policy: Policy) -> Iterator[dict[str, Tensor]]:
    """Parameters of every module that has an adapted layer, by the model's own parameter names.

    Each comes whole, with the layers beside the adapted ones: a runtime that fuses neighbours (a
    block's query, key and value) can only load them together. Tensors stay on their device; merged
    ones are new, the others are the model's own. Raises PolicyModelError for an adapted layer that
    is not linear.
    """
    model = policy.base.model
    # The value's adapter may begin below the policy's.
    adapted = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, BaseTunerLayer) and _ADAPTER in module.lora_A
    }
    for name, module in adapted.items():
        if not isinstance(module, Linear):
            raise PolicyModelError(policy.base.name, f"{name} is adapted and not a linear layer")
    owners = {name.rpartition(".")[0] for name in adapted}
    for owner in sorted(owners):
        if not any(owner.startswith(f"{other}.") for other in owners):
            yield _merged(owner, model.get_submodule(owner), adapted)


@torch.no_grad()
def _merged(
    owner: str, module: torch.nn.Module, adapted: dict[str, BaseTunerLayer]
) -> dict[str, Tensor]:
    found = {}
    for name, parameter in module.named_parameters(prefix=owner):
        if ".lora_" in name:
            continue
        layer = adapted.get(name.removesuffix(".base_layer.weight"))
        value = parameter.detach()
        found[name.replace(".base_layer.", ".")] = (
            value if layer is None else _sum(value, layer, name)
        )
    return found


def _sum(weight: Tensor, layer: Linear, name: str) -> Tensor:
    a, b = layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight
    change: Tensor = (b.float() @ a.float()) * layer.scaling[_ADAPTER]
    whole = weight.float() + (change.T if layer.fan_in_fan_out else change)
    return rounded(whole, weight.dtype, name=name.replace(".base_layer.", "."))
