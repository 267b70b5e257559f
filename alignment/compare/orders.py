"""One run of a comparison as an order, and the orders of what it begins from."""

from dataclasses import dataclass, replace
from pathlib import Path

from alignment.compare.plan import Method


@dataclass(frozen=True, slots=True)
class RunOrder:
    """One run: what to train by which method, and where to.

    `model` is the checkpoint to start from.
    """

    method: Method
    seed: int
    data: Path
    recipe: str
    model: str
    run: Path
    merged: Path
    steps: int | None
    view_seed: int

    def of(self, method: Method) -> "RunOrder":
        """The comparison's own run of another method with the same seed."""
        folder = self.run.parent.with_name(f"{method}-{self.seed}")
        return replace(
            self, method=method, run=folder / self.run.name, merged=folder / self.merged.name
        )
