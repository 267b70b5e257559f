"""What of a policy is a choice: its adapters, its temperature and how its passes are laid out."""

from dataclasses import dataclass
from typing import Literal

from alignment.recipes import LORA_TARGETS

Role = Literal["policy", "reference", "value"]
"""Which model the one copy of the base is: its adapter "policy", no adapter, or "value"."""

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class LoraShape:
    """Low-rank adapters on the language model's linear layers; `targets` are layer names.

    They begin at layer `from_layer`, counted from 0. What lies below is then the same network for
    every role and is run once a rollout instead of once a pass (`alignment.policy_trunk`).
    """

    r: int
    alpha: int
    dropout: float = 0.0
    targets: tuple[str, ...] = LORA_TARGETS
    from_layer: int = 0

    def __post_init__(self) -> None:
        if self.r < 1 or not 0.0 <= self.dropout < 1.0 or not self.targets or self.from_layer < 0:
            raise ValueError(f"not a LoRA shape: {self}")


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """A policy over a base model.

    - `temperature` divides the logits everywhere: in the sampler, in the policy's and in the
      reference's log-probabilities, so all three speak of one distribution.
    - `adapter_dtype`: None keeps the base's. "float32" beside a bf16 base suits a plain AdamW;
      a bf16 adapter needs float32 masters (`alignment.optimizer`).
    - `gradient_checkpointing` trades time for memory: layers are computed again in backward.
    - `length_multiple`: sequences are padded to multiples of it, so that shapes recur.
    - `keep_features`: what the frozen tower makes of a picture is computed once and kept, at most
      `kept_features_bytes` of it between batches; False passes pixels each time.
    - `seed` draws the adapters' first values.
    """

    policy: LoraShape = LoraShape(r=16, alpha=32)
    value: LoraShape = LoraShape(r=8, alpha=16)
    temperature: float = 1.0
    adapter_dtype: Literal["float32", "bfloat16"] | None = None
    gradient_checkpointing: bool = False
    length_multiple: int = 32
    keep_features: bool = True
    kept_features_bytes: int = _GIB
    seed: int = 2024

    def __post_init__(self) -> None:
        if self.temperature <= 0.0 or self.length_multiple < 1 or self.kept_features_bytes < 0:
            raise ValueError(f"not a policy's configuration: {self}")
