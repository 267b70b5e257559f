"""AdamW over bf16 parameters with float32 master copies.

bf16 keeps eight bits of precision: an update a few hundred times smaller than the weight would be
rounded away. The masters take the updates and the model gets their rounded copies.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class MasterAdamW:
    """AdamW, gradient clipping and a float32 master of every trainable parameter, by name."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], weight_decay: float) -> None:
        self._parameters = dict(parameters)
        self._masters = {
            name: parameter.detach().float().clone() for name, parameter in parameters.items()
        }
        self._adamw = torch.optim.AdamW(
            list(self._masters.values()), lr=0.0, betas=(0.9, 0.98), weight_decay=weight_decay
        )

    def step(self, *, lr: float, max_grad_norm: float) -> float:
        """Apply the gradients found on the parameters and clear them; return their norm."""
        for name, parameter in self._parameters.items():
            gradient = parameter.grad
            self._masters[name].grad = None if gradient is None else gradient.float()
            parameter.grad = None
        norm = nn.utils.clip_grad_norm_(list(self._masters.values()), max_grad_norm)
        for group in self._adamw.param_groups:
            group["lr"] = lr
        self._adamw.step()
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(self._masters[name])
        return float(norm)

    def weights(self) -> dict[str, Tensor]:
        """The float32 masters, by name."""
        return {name: master.detach() for name, master in self._masters.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything `load_state_dict` needs to go on bit for bit."""
        return {"masters": self.weights(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore masters, moments and the model's parameters."""
        self._adamw.load_state_dict(state["adamw"])
        with torch.no_grad():
            for name, master in self._masters.items():
                master.copy_(state["masters"][name])
                self._parameters[name].copy_(master)
