"""How risky an input is, and of what kind: what S2's safety head says.

A level from 0 (clean) to 3 and a type, one of the taxonomy's categories or "clean". Both are
softmaxes. A model without a safety head says neither, which is None, never "clean".
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

CLEAN = "clean"
"""The type that stands beside the taxonomy's categories."""

LEVELS = 4
"""0 clean, 1 to 3 ever riskier."""

# Softmaxes are summed in low precision: a sum may miss 1 by rounding.
_ROUNDING = 1e-2


@dataclass(frozen=True, slots=True)
class Risk:
    """A safety head's two answers, each a distribution: four levels, and types with "clean".

    Numbers that are none (NaN from a broken forward pass) are let in, so that an engine need not
    judge what it passes on; who reads a risk asks `is_usable` first. Raises `ValueError` for what
    is no such answer at all: another number of levels, no "clean" among the types.
    """

    levels: tuple[float, float, float, float]
    types: Mapping[str, float]

    def __post_init__(self) -> None:
        if len(self.levels) != LEVELS:
            raise ValueError(f"a risk has {LEVELS} levels, got {len(self.levels)}")
        if CLEAN not in self.types or len(self.types) < 2:
            raise ValueError(f"risk types are {CLEAN!r} and others, got {sorted(self.types)}")

    @property
    def is_usable(self) -> bool:
        """Whether both are distributions: probabilities that sum to 1, rounding aside."""
        return _is_distribution(self.levels) and _is_distribution(tuple(self.types.values()))

    @property
    def level(self) -> int:
        """The likeliest level; of equals the riskier."""
        return max(range(LEVELS), key=lambda level: (self.levels[level], level))

    @property
    def type(self) -> str:
        """The likeliest type; "clean" only where it is likelier than every other."""
        return max(self.types, key=lambda name: (self.types[name], name != CLEAN))

    def at_least(self, level: int) -> float:
        """The probability that the level is `level` or above."""
        return min(1.0, math.fsum(self.levels[level:]))

    @property
    def expected_level(self) -> float:
        """The mean level, from 0 to 3: what risks are ordered by."""
        return math.fsum(level * share for level, share in enumerate(self.levels))


def worst(risks: Iterable[Risk]) -> Risk | None:
    """One usable risk for several inputs or pieces; None without any.

    For every level the highest probability of reaching it, so no part's warning is lost behind
    another's; the types are those of the part with the highest mean level.
    """
    parts = tuple(risks)
    if not parts:
        return None
    riskiest = max(parts, key=lambda risk: (risk.expected_level, sorted(risk.types.items())))
    if all(part == riskiest for part in parts):
        return riskiest
    one, two, three = (max(part.at_least(level) for part in parts) for level in (1, 2, 3))
    return Risk(levels=(1.0 - one, one - two, two - three, three), types=riskiest.types)


def distinct(risks: Iterable[Risk]) -> tuple[Risk, ...]:
    """Every risk once, in an order of their own."""
    by_content = {(risk.levels, *sorted(risk.types.items())): risk for risk in risks}
    return tuple(by_content[content] for content in sorted(by_content))


def _is_distribution(shares: tuple[float, ...]) -> bool:
    # Written so that NaN, which compares false to everything, is refused.
    return (
        all(0.0 <= share <= 1.0 + _ROUNDING for share in shares)
        and abs(math.fsum(shares) - 1.0) <= _ROUNDING
    )
