"""What a comparison of two records consists of."""

from dataclasses import dataclass
from typing import Literal

from benchmarks.capabilities.tasks import Modality, Mode, Suite
from benchmarks.stats import Estimate

Verdict = Literal["A is better", "B is better", "no difference shown"]
Measure = Literal["right answers", "AUC of P(unsafe)", "modality gap"]
Among = Literal["all", "unsafe", "safe"]


@dataclass(frozen=True, slots=True)
class Paired:
    """A figure of A, the same of B, and B minus A; None where it can't be computed."""

    a: float | None
    b: float | None
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of both models, on what both were asked.

    - `modality` says how it was asked; for a gap, how the words were. `among` says which subjects
      are in it. `benchmark` is set for the suite ``general`` alone.
    - `tasks` and `groups` count what both records hold; a gap counts pictures, and concepts as
      groups.
    - `counted_wrong` is what is tested; in an AUC "no answer" plays no part. The `difference` of a
      gap is that of its size: a gap of -0.1 is as good as one of 0.1.
    - `dropped` is the same with "no answer" left out, by each model its own; None for an AUC.
    - `only_a_right` and `only_b_right` count tasks that one did better in; None but for rates.
    - `p` is the test's p-value, `p_holm` the same corrected for all differences of the comparison;
      None where nothing can be tested.
    """

    measure: Measure
    suite: Suite
    mode: Mode
    modality: Modality
    among: Among
    benchmark: str
    tasks: int
    groups: int
    counted_wrong: Paired
    dropped: Paired | None
    only_a_right: int | None
    only_b_right: int | None
    p: float | None
    p_holm: float | None = None
    verdict: Verdict = "no difference shown"


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences of two records, named by their models and versions.

    `warnings` say what else differs between them.
    """

    a: str
    b: str
    data: str
    common_tasks: int
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]
