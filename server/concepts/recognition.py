"""What a model sees in a picture, kept apart from whether it judges it unsafe.

Recognition comes from a model's recognition rows, or from lettered follow-up questions. A news
photograph of a swastika may be recognised as one and judged safe, or the other way round.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

# Softmaxes are summed in low precision: a probability may exceed 1 by rounding.
_ROUNDING = 1e-3


@dataclass(frozen=True, slots=True)
class Recognition:
    """What the model sees, as two softmaxes, each with a "none" of its own.

    `categories` maps each of the nine category names to a probability and `no_category` is what is
    left, so they sum to 1. `concepts` and `no_concept` do the same for the 75 concepts, or for
    fewer: lettered follow-ups ask only about the concepts of the likeliest category, and `concepts`
    is empty when that question got no answer.
    """

    categories: Mapping[str, float]
    no_category: float
    concepts: Mapping[str, float] = field(default_factory=dict)
    no_concept: float = 1.0

    @property
    def is_usable(self) -> bool:
        """Whether every number is a probability; NaN from a broken forward pass is not."""
        numbers = (
            *self.categories.values(),
            self.no_category,
            *self.concepts.values(),
            self.no_concept,
        )
        return all(math.isfinite(number) and 0.0 <= number <= 1.0 + _ROUNDING for number in numbers)
