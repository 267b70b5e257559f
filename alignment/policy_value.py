"""The value model's head. Its body is the base with the adapter "value"."""

import torch
from torch import Tensor, nn


class ValueHead(nn.Module):
    """A linear map from the last hidden state to a value, in float32 and zero at first [S1]."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1, dtype=torch.float32)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map last hidden states (..., H) to values (...)."""
        value: Tensor = self.linear(hidden.float())
        return value[..., 0]
