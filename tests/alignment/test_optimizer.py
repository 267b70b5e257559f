"""bf16 training keeps small updates and resumes bit for bit."""

import torch
from torch import nn

from alignment.optimizer import MasterAdamW


def parameter() -> nn.Parameter:
    return nn.Parameter(torch.ones(4, dtype=torch.bfloat16))


def step(weight: nn.Parameter, optimizer: MasterAdamW, lr: float = 1e-3) -> float:
    weight.grad = torch.tensor([3.0, -4.0, 0.0, 0.0], dtype=torch.bfloat16)
    return optimizer.step(lr=lr, max_grad_norm=1e9)


def test_updates_below_bf16s_precision_add_up() -> None:
    weight = parameter()
    optimizer = MasterAdamW({"w": weight}, weight_decay=0.0)
    for _ in range(10):
        norm = step(weight, optimizer)
    assert norm == 5.0
    # Each update is 0.001, and bf16 can't tell 0.999 from 1.
    assert float(weight.detach()[0]) < 0.993
    assert float(weight.detach()[1]) > 1.005
    assert weight.grad is None


def test_a_restored_optimizer_goes_on_bit_for_bit() -> None:
    straight = parameter()
    optimizer = MasterAdamW({"w": straight}, weight_decay=0.01)
    step(straight, optimizer)
    state = optimizer.state_dict()
    state = {
        "masters": {k: v.clone() for k, v in state["masters"].items()},
        "adamw": state["adamw"],
    }
    resumed = parameter()
    restored = MasterAdamW({"w": resumed}, weight_decay=0.01)
    restored.load_state_dict(state)
    assert torch.equal(resumed, straight)
    step(straight, optimizer)
    step(resumed, restored)
    assert torch.equal(restored.weights()["w"], optimizer.weights()["w"])


def test_large_gradients_are_clipped_together() -> None:
    weight = parameter()
    optimizer = MasterAdamW({"w": weight}, weight_decay=0.0)
    weight.grad = torch.full((4,), 100.0, dtype=torch.bfloat16)
    assert optimizer.step(lr=0.1, max_grad_norm=1.0) == 200.0
    assert float(optimizer._masters["w"].grad.norm()) == torch.tensor(1.0)
