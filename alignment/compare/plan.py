"""What a comparison trains and measures, and where each part of it lies.

OUT/comparison.json                 what is compared
OUT/base/, OUT/<method>-<seed>/     a contestant: its training run and its measurements
OUT/table.md, table.json, table.png
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from server.errors import SightwardError

Method = Literal["sft", "dpo", "ppo", "sft-ppo", "rloo", "grpo", "stage1", "stage2", "stages-ppo"]
"""What begins from another method's run takes the comparison's own one of the same seed.

`sft-ppo` is PPO that begins from the adapter of `sft`. `stage1` and `stage2` are [S2]'s stages, the
second on the first, and `stages-ppo` is PPO that begins from the adapter of `stage2`.
"""

METHODS: tuple[Method, ...] = get_args(Method)
STAGES: tuple[Method, ...] = ("stage1", "stage2", "stages-ppo")
"""Those whose models carry safety modules."""
DEFAULT_METHODS: tuple[Method, ...] = ("sft", "dpo", "ppo", "sft-ppo", "rloo")
BASE = "base"
OPEN_SET = "open-set"

RUN_FOLDER = "run"
MERGED_FOLDER = "merged"
INSIDE, OUTSIDE = "inside", "outside"
RECORD_NAME = "record.json"
RISK_NAME = "risk.json"


class UnknownMethodError(SightwardError):
    """A comparison was asked for a method that there is none of."""

    def __init__(self, method: str) -> None:
        super().__init__(f"unknown method {method!r}; there are {', '.join(METHODS)}")
        self.method = method


@dataclass(frozen=True, slots=True)
class MeasureConfig:
    """What every contestant is asked.

    One token about every picture of the `split` and every name for one, with the questions that are
    served by default; written answers, without "Answer yes or no.", about `written` subjects, of at
    most `max_tokens` tokens, sampled at temperature 1. `outside` is the data set that stands for
    another domain.
    """

    split: str = "test"
    written: int = 160
    max_tokens: int = 96
    outside: str | None = OPEN_SET
    engine: str | None = None
    seed: int = 2024
    resamples: int = 200


@dataclass(frozen=True, slots=True)
class Contestant:
    """The base (`method` None), or a model that a method made of it with a seed."""

    method: Method | None
    seed: int | None
    folder: Path

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def run(self) -> Path:
        """Where it is trained."""
        return self.folder / RUN_FOLDER

    @property
    def merged(self) -> Path:
        """The checkpoint that is measured; gone afterwards unless it is to be kept."""
        return self.folder / MERGED_FOLDER

    @property
    def risk(self) -> Path | None:
        """How well its safety modules read pictures; None for a model without."""
        return self.folder / RISK_NAME if self.method in STAGES else None

    def record(self, where: str) -> Path:
        """The record file of one of its measurements."""
        return self.folder / where / RECORD_NAME


@dataclass(frozen=True, slots=True)
class ComparisonConfig:
    """A whole comparison. `data` is a folder with a manifest.jsonl; `recipe` one of the book.

    `model` is a checkpoint to start from instead of the recipe's; `steps` overrides every method's.
    Views of pictures are drawn by `view_seed` in all runs, so that one cache of tower features
    serves them all.
    """

    data: Path
    out: Path
    recipe: str = "reference"
    model: str | None = None
    methods: tuple[Method, ...] = DEFAULT_METHODS
    seeds: tuple[int, ...] = (2024, 2025, 2026)
    steps: int | None = None
    view_seed: int = 2024
    measure: MeasureConfig = MeasureConfig()
    has_regression: bool = True
    keeps_checkpoints: bool = False

    @property
    def base(self) -> Contestant:
        """What all start from."""
        return Contestant(None, None, self.out / BASE)

    def trained(self) -> tuple[Contestant, ...]:
        """Every run, seed by seed, so that each method has one early."""
        return tuple(
            Contestant(method, seed, self.out / f"{method}-{seed}")
            for seed in self.seeds
            for method in self.methods
        )


def methods_named(names: str) -> tuple[Method, ...]:
    """The methods of a comma-separated list, in its order. Raises UnknownMethodError."""
    found: list[Method] = []
    for name in (part.strip() for part in names.split(",")):
        known = next((method for method in METHODS if method == name), None)
        if known is None:
            raise UnknownMethodError(name)
        if known not in found:
            found.append(known)
    return tuple(found)


def seeds_from(count: int, first: int = 2024) -> tuple[int, ...]:
    """`count` seeds, one after the other."""
    return tuple(range(first, first + count))
