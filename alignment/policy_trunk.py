"""What the layers below the adapters make of a batch, computed once and read again.

Adapters may begin at some layer of the language model (`LoraShape.from_layer`). Below it nothing is
ever trained and all three roles are the same network, so what comes out of there is the same in the
reference's pass, in the policy's, in the value model's, and in every epoch over a rollout. It is
noted in the reference's pass, row by row without padding, and put in again where an adapter begins;
the layers below are passed over.

Legend beside `alignment.policy_inputs`': L positions of one row with its answer, without padding.
"""
# Tensor names carry their shapes.
# ruff: noqa: N803, N806

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from alignment.policy_base import PolicyBase
from alignment.policy_errors import PolicyModelError

Trunk = Mapping[int, Tensor]
"""Of one row: what comes out below a layer (L, H), by the layer's number."""


class Layers:
    """The layers of a base's language model, to listen to and to pass over."""

    def __init__(self, base: PolicyBase) -> None:
        found = [
            module
            for name, module in base.decoder.named_modules()
            if name.split(".")[-1] == "layers" and isinstance(module, nn.ModuleList)
        ]
        if len(found) != 1:
            raise PolicyModelError(base.name, "its language model has no one list of layers")
        self._layers: list[Any] = list(found[0])

    def __len__(self) -> int:
        return len(self._layers)

    @contextmanager
    def noting(self, numbers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
        """Fill a dict with what comes out below each of these layers, padding and all (B, T, H)."""
        noted: dict[int, Tensor] = {}

        def listen(number: int) -> Any:
            def hook(_layer: nn.Module, _args: Any, states_BTH: Tensor) -> None:
                noted[number] = states_BTH.detach()

            return self._layers[number - 1].register_forward_hook(hook)

        handles = [listen(number) for number in numbers]
        try:
            yield noted
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def entering_at(self, number: int, states_BTH: Tensor) -> Iterator[None]:
        """Pass over the layers below this one, the last of which gives these states.

        Nothing below needs a gradient, so gradient checkpointing never runs those layers again and
        it doesn't matter that they are back by the time of the backward pass.
        """

        def give(*_args: Any, **_kwargs: Any) -> Tensor:
            return states_BTH

        below = self._layers[:number]
        for layer in below:
            layer.forward = _pass_over
        below[-1].forward = give
        try:
            yield
        finally:
            for layer in below:
                del layer.forward


def rows_of(noted: Mapping[int, Tensor], attention_mask_BT: Tensor) -> list[dict[int, Tensor]]:
    """Each row of padded states alone, without its padding."""
    rows: list[dict[int, Tensor]] = [{} for _ in range(len(attention_mask_BT))]
    for number, states_BTH in noted.items():
        for row, (states_TH, mask_T) in enumerate(zip(states_BTH, attention_mask_BT, strict=True)):
            rows[row][number] = states_TH[mask_T.bool()]
    return rows


def padded(rows: Sequence[Trunk], number: int, attention_mask_BT: Tensor) -> Tensor:
    """What comes out below layer `number` (B, T, H), laid out as a mask says, 0 on padding."""
    width = rows[0][number].shape[-1]
    states_BTH = rows[0][number].new_zeros(*attention_mask_BT.shape, width)
    states_BTH[attention_mask_BT.bool()] = torch.cat([row[number] for row in rows])
    return states_BTH


def _pass_over(hidden_states: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
    return hidden_states
