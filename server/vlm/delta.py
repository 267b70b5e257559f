"""Our trained weights as a small file beside the packaged base.

A delta is one bf16 safetensors file. Tensors of our own parts stand under their parameter names and
replace the base's; LoRA pairs stand under PEFT's names and are added to the layer they belong to.
The file's metadata carries the configuration that the weights were trained in.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from server.errors import SightwardError

_FORMAT = "1"
_LORA_A = ".lora_A.default.weight"
_LORA_B = ".lora_B.default.weight"


class DeltaError(SightwardError):
    """A delta file that does not fit; `reason` says how."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class DeltaShape:
    """What a delta needs to know beyond its tensors; see `server.vlm.config`."""

    grid: int
    safety_tokens: int
    recognition_hidden: int
    lora_r: int
    lora_alpha: int


@dataclass(frozen=True, slots=True)
class Delta:
    """Trained tensors by parameter name, and their shape."""

    shape: DeltaShape
    tensors: Mapping[str, Tensor]


def write_delta(path: Path, delta: Delta) -> None:
    """Write a delta in bf16."""
    tensors = {
        name: tensor.to(torch.bfloat16).contiguous() for name, tensor in delta.tensors.items()
    }
    save_file(tensors, path, {"format": _FORMAT, "shape": json.dumps(asdict(delta.shape))})


def read_delta(path: Path) -> Delta:
    """Read a delta; raises DeltaError when it is missing, cut short or of another format."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise DeltaError(path, f"format {metadata.get('format')!r} is not {_FORMAT!r}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Delta(DeltaShape(**json.loads(metadata["shape"])), tensors)
    except DeltaError:
        raise
    except Exception as error:  # safetensors raises its own Rust exception types
        raise DeltaError(path, f"can't be read: {error}") from error


def merge_delta(base: Mapping[str, Tensor], delta: Delta, path: Path) -> dict[str, Tensor]:
    """Return the base's float32 state dict with the delta merged in.

    Raises DeltaError when a tensor of the delta has no place in the base or another shape.
    """
    merged = dict(base)
    scale = delta.shape.lora_alpha / delta.shape.lora_r if delta.shape.lora_r else 0.0
    for name, tensor in delta.tensors.items():
        if name.endswith(_LORA_B):
            continue
        if name.endswith(_LORA_A):
            module = name.removesuffix(_LORA_A)
            target = f"{module}.weight"
            update = delta.tensors[module + _LORA_B].float() @ tensor.float() * scale
        else:
            target, update = name, None
        if target not in merged:
            raise DeltaError(path, f"{target!r} is no parameter of the base")
        value = tensor.float() if update is None else merged[target].float() + update
        if value.shape != merged[target].shape:
            raise DeltaError(path, f"{target!r} has shape {tuple(value.shape)}")
        merged[target] = value
    return merged
