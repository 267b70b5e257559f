"""The measures of a VLM's safety modules [S2], as data: what a file states and a runtime builds.

Kept apart from the layers in `server.vlm.safety`, so that what only reads a configuration needs no
torch.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from server.concepts.risk import CLEAN, LEVELS
from server.concepts.taxonomy import load_taxonomy

Query = Literal["learned", "text"]
"""What the head asks with: one learned vector, or that and what the language model has read."""


@dataclass(frozen=True, slots=True)
class SafetyShape:
    """What safety modules look like; everything needed to build them but their weights.

    `channels` is the width of the tower's features, `hidden_size` the language model's.
    `seen_tokens` learned vectors stand before an image's positions in the prompt; `head_tokens`
    others are among the head's keys and values, at an image's first places. `width` is that of the
    head's states, `heads`, `kv_heads` and `head_dim` (one channel of each head's masks) its
    attention: in vLLM the last two must be the language model's, whose cache it shares. `depth` and
    `kernel` (odd; 1 treats positions singly, on any grid) are the projector's blocks.

    `types` are the risk types with "clean" last, `concepts` the concepts without "none".
    `recognises` says that the head's types and concepts take the place of the recognition head's.
    Raises `ValueError` for measures that make no modules.
    """

    channels: int
    hidden_size: int
    types: tuple[str, ...]
    concepts: tuple[str, ...]
    seen_tokens: int = 0
    head_tokens: int = 4
    width: int = 192
    heads: int = 9
    kv_heads: int = 3
    head_dim: int = 64
    depth: int = 2
    kernel: int = 3
    query: Query = "learned"
    levels: int = LEVELS
    recognises: bool = False

    def __post_init__(self) -> None:
        positive = ("channels", "hidden_size", "width", "heads", "kv_heads", "kernel")
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} of safety modules is {getattr(self, name)}")
        for name in ("seen_tokens", "head_tokens", "depth"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} of safety modules is {getattr(self, name)}")
        if self.head_dim < 2:
            raise ValueError(f"a head of {self.head_dim} channels has none beside its mask")
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads can't share {self.kv_heads} keys")
        if self.kernel % 2 == 0:
            raise ValueError(f"a kernel of {self.kernel} has no middle")
        if self.query not in ("learned", "text"):
            raise ValueError(f"the query is 'learned' or 'text', not {self.query!r}")
        if self.levels != LEVELS:
            raise ValueError(f"there are {LEVELS} levels, not {self.levels}")
        if len(self.types) < 2 or self.types[-1] != CLEAN:
            raise ValueError(f"the last risk type is {CLEAN!r}")
        for names in (self.types, self.concepts):
            if len(set(names)) < len(names):
                raise ValueError(f"two of the same name: {', '.join(names)}")

    @property
    def reads_words(self) -> bool:
        """Whether the head can judge a prompt without a picture: a learned query sees nothing."""
        return self.query == "text"

    def to_json(self) -> dict[str, Any]:
        """As plain values, for a configuration or a file's metadata."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, stated: Mapping[str, Any]) -> "SafetyShape":
        """The shape that `to_json` wrote. Raises `ValueError` for anything else."""
        kinds = {"types": list, "concepts": list, "query": str, "recognises": bool}
        names = {field.name for field in fields(cls)}
        if set(stated) != names:
            wrong = ", ".join(sorted(set(stated) ^ names))
            raise ValueError(f"safety modules: missing or unknown: {wrong}")
        for name, value in stated.items():
            if type(value) is not kinds.get(name, int):
                raise ValueError(f"safety modules: {name} is {value!r}")
        lists = {name: tuple(stated[name]) for name in ("types", "concepts")}
        return cls(**{**stated, **lists})


def risk_types() -> tuple[str, ...]:
    """The taxonomy's categories in its order, then "clean"."""
    return (*load_taxonomy().category_names, CLEAN)
