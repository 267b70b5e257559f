"""A PEFT adapter on the reference VLM's language model, added into the weights it was trained on.

It was trained beside the base as that is served, in bf16. So it is added to the bf16 weights, in
float32, and the sums are rounded once, by seeded chance (`server.vlm.rounding`): adding it before
the base's own rounding would round twice.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from server.errors import SightwardError
from server.vlm.references import ADAPTER_CONFIG_NAME, ADAPTER_NAME
from server.vlm.rounding import rounded

BASE_KEY = "sightward_base"
"""Metadata of the tensors' file: the digest of the base that the adapter was trained on."""

_PREFIX = "base_model.model."
_LORA_A = ".lora_A.weight"
_LORA_B = ".lora_B.weight"


class AdapterError(SightwardError):
    """An adapter that does not fit; `reason` says how."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"{folder}: {reason}")
        self.folder = folder
        self.reason = reason


def merge_adapter(weights: Mapping[str, Tensor], folder: Path, *, base_digest: str) -> set[str]:
    """Add the adapter to a model's weights, in place; returns the names of those it changed.

    `weights` are by parameter name. Raises AdapterError when the adapter can't be read, belongs to
    another base than `base_digest`, or has no place in the weights.
    """
    scale = _scale(folder)
    tensors = _read(folder, base_digest)
    changed = set()
    for name, a in tensors.items():
        if name.endswith(_LORA_B):
            continue
        module = name.removeprefix(_PREFIX).removesuffix(_LORA_A)
        target = f"{module}.weight"
        b = tensors.get(f"{_PREFIX}{module}{_LORA_B}")
        if not name.startswith(_PREFIX) or not name.endswith(_LORA_A) or b is None:
            raise AdapterError(folder, f"{name!r} is no half of a pair of LoRA matrices")
        weight = weights.get(target)
        if weight is None or weight.shape != (b.shape[0], a.shape[1]) or len(a) != b.shape[1]:
            raise AdapterError(folder, f"{module!r} is no layer of the base in that shape")
        whole = weight.float() + b.float() @ a.float() * scale
        weight.copy_(rounded(whole, weight.dtype, name=target))
        changed.add(target)
    return changed


def _scale(folder: Path) -> float:
    try:
        config: dict[str, Any] = json.loads((folder / ADAPTER_CONFIG_NAME).read_text("utf-8"))
        plain = not (config.get("use_rslora") or config.get("use_dora"))
        pattern = config.get("rank_pattern") or config.get("alpha_pattern")
        if config["peft_type"] != "LORA" or not plain or pattern:
            raise AdapterError(folder, "only plain LoRA of one rank can be merged")
        return float(config["lora_alpha"]) / int(config["r"])
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise AdapterError(folder, f"{ADAPTER_CONFIG_NAME}: {error}") from error


def _read(folder: Path, base_digest: str) -> dict[str, Tensor]:
    try:
        with safe_open(folder / ADAPTER_NAME, framework="pt") as file:
            trained_on = (file.metadata() or {}).get(BASE_KEY)
            if trained_on != base_digest:
                raise AdapterError(
                    folder,
                    f"the adapter was trained on base {str(trained_on)[:12]}, the base here is "
                    f"{base_digest[:12]}; align it again",
                )
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except AdapterError:
        raise
    except Exception as error:  # safetensors raises its own Rust exception types
        raise AdapterError(folder, f"{ADAPTER_NAME}: {error}") from error
