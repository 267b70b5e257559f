"""Training state on disk: written whole or not at all, the newest few kept."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from server.errors import SightwardError

WEIGHTS_NAME = "weights.safetensors"
_KEEP = 2


class UnfinishedRunError(SightwardError):
    """A run without its final weights; finish it first."""

    def __init__(self, run: Path, reason: str) -> None:
        super().__init__(f"{run} holds no finished weights: {reason}")
        self.run = run
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Training state after `step` steps."""

    step: int
    state: dict[str, Any]


def save_checkpoint(run: Path, step: int, state: Mapping[str, Any]) -> None:
    """Write ``checkpoint-<step>.pt`` atomically and drop all but the newest two."""
    path = run / f"checkpoint-{step:06d}.pt"
    partial = path.with_suffix(f".{os.getpid()}.partial")
    torch.save(dict(state), partial)
    partial.replace(path)
    for old in sorted(run.glob("checkpoint-*.pt"))[:-_KEEP]:
        old.unlink()


def latest_checkpoint(run: Path) -> Checkpoint | None:
    """The newest whole checkpoint of a run, or None."""
    paths = sorted(run.glob("checkpoint-*.pt"))
    if not paths:
        return None
    state: dict[str, Any] = torch.load(paths[-1], map_location="cpu", weights_only=True)
    return Checkpoint(int(paths[-1].stem.removeprefix("checkpoint-")), state)


def load_weights(run: Path) -> dict[str, Tensor]:
    """Weights of a finished run, by parameter name; raises UnfinishedRunError."""
    try:
        return load_file(run / WEIGHTS_NAME)
    except (OSError, SafetensorError) as error:
        raise UnfinishedRunError(run, str(error)) from error


def save_weights(run: Path, weights: Mapping[str, Tensor], metadata: dict[str, str]) -> Path:
    """Write the stage's weights in float32, by parameter name, atomically."""
    path = run / WEIGHTS_NAME
    partial = path.with_suffix(f".{os.getpid()}.partial")
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, partial, metadata)
    partial.replace(path)
    return path
