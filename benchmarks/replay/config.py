"""How a replay is run."""

from dataclasses import dataclass, field
from typing import Literal

from benchmarks.errors import MeasurementError
from benchmarks.fresh_images import new_pixel_seed
from benchmarks.load.peer import Contract
from benchmarks.replay.inputs import TextField

Words = Literal["none"] | TextField


@dataclass(frozen=True, slots=True)
class ReplayConfig:
    """What is sent, when, and what is counted as good.

    - `clients` each send the next picture when they have an answer (closed loop), unless
      `rate_per_s` names how many are due a second at random, or `arrivals` the file that says when.
    - `passes` over the split; recorded arrivals go on as long as they last.
    - `allow_cache` sends files as they are; else every picture of every pass has fresh pixels.
    - `words` also asks about each picture's concept or caption, once and after the pictures.
    - `objective_ms` is the latency that goodput is counted under, `give_up_s` when a request is
      cancelled. `warm_up` requests are sent first and not counted.
    - `contract` None finds out whether the endpoint is ours; `model` is named in every request.
    - `pixel_seed` is what fresh pixels come from, another in every run; `seed` is for the rest.
    - `limit` takes so many of the split's pictures, at random by `seed`.
    """

    url: str
    split: str | None = None
    passes: int = 1
    clients: int = 4
    rate_per_s: float | None = None
    arrivals: str | None = None
    speed: float = 1.0
    allow_cache: bool = False
    words: Words = "none"
    objective_ms: float = 1000.0
    give_up_s: float = 30.0
    warm_up: int = 4
    contract: Contract | None = None
    model: str | None = None
    seed: int = 2024
    resamples: int = 1000
    limit: int | None = None
    pixel_seed: int = field(default_factory=new_pixel_seed)

    @property
    def loop(self) -> str:
        """In words."""
        if self.arrivals is not None:
            speed = "" if self.speed == 1.0 else f", {self.speed:g} times as fast"
            return f"open loop, recorded arrivals{speed}"
        if self.rate_per_s is not None:
            return f"open loop, {self.rate_per_s:g} requests a second at random (Poisson)"
        return f"closed loop, {self.clients} clients"

    def check(self) -> None:
        """Raises `MeasurementError` for what can't be run."""
        if self.rate_per_s is not None and self.arrivals is not None:
            raise MeasurementError("arrivals are at random or recorded; give --rate or --arrivals")
        for name, value in (
            ("passes", self.passes),
            ("clients", self.clients),
            ("rate", self.rate_per_s),
            ("limit", self.limit),
            ("give-up-s", self.give_up_s),
        ):
            if value is not None and value <= 0:
                raise MeasurementError(f"--{name} must be more than 0, not {value:g}")
