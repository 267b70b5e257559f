"""What is varied, one thing at a time, around one ordinary load."""

from dataclasses import dataclass, replace
from typing import Literal

Sweep = Literal["side_px", "images_per_call", "clients", "cores", "text_chars"]

SWEEPS: tuple[Sweep, ...] = ("side_px", "images_per_call", "clients", "cores", "text_chars")
TITLES: dict[Sweep, str] = {
    "side_px": "longer side of a picture, px",
    "images_per_call": "pictures a call",
    "clients": "clients",
    "cores": "cores of the service",
    "text_chars": "characters of a text",
}

_CALLS = 48
_MOST_PIXELS = 48_000_000
"""Of a point's pictures together: large ones take long to make, and few of them tell enough."""


@dataclass(frozen=True, slots=True)
class Point:
    """One load: `clients` that each send a call as soon as the last one's answer is there.

    A call carries `images_per_call` pictures, or with `text_chars` one text. `cores` is how many
    the service has; None: all of the machine.
    """

    sweep: Sweep
    side_px: int = 288
    images_per_call: int = 1
    clients: int = 8
    cores: int | None = None
    text_chars: int | None = None

    @property
    def value(self) -> int:
        """Of what is varied."""
        found = getattr(self, self.sweep)
        return int(found or 0)

    @property
    def calls(self) -> int:
        """How many are sent: enough for every client to have three, and bounded in pixels."""
        wanted = max(_CALLS // self.images_per_call, 3 * self.clients)
        if self.text_chars is not None:
            return wanted
        by_pixels = _MOST_PIXELS // (self.side_px**2 * self.images_per_call)
        return max(self.clients, min(wanted, by_pixels))

    @property
    def items(self) -> int:
        """Pictures, or texts, of all calls."""
        return self.calls * (1 if self.text_chars is not None else self.images_per_call)


VALUES: dict[Sweep, tuple[int, ...]] = {
    "side_px": (96, 288, 640, 1280, 2560),
    "images_per_call": (1, 2, 4, 8, 16),
    "clients": (1, 2, 4, 8, 16, 32),
    "text_chars": (20, 200, 1000, 4000),
}


def points_of(sweep: Sweep, *, machine_cores: int) -> list[Point]:
    """The points of one sweep; cores double up to what the machine has."""
    if sweep == "cores":
        values = tuple(sorted({1, *(2**n for n in range(1, 8)), machine_cores}))
        return [Point("cores", cores=n) for n in values if n <= machine_cores]
    plain = Point(sweep, clients=2) if sweep == "images_per_call" else Point(sweep)
    return [_with(plain, sweep, value) for value in VALUES[sweep]]


def _with(point: Point, sweep: Sweep, value: int) -> Point:
    match sweep:
        case "side_px":
            return replace(point, side_px=value)
        case "images_per_call":
            return replace(point, images_per_call=value)
        case "clients":
            return replace(point, clients=value)
        case "text_chars":
            return replace(point, text_chars=value)
        case "cores":
            return replace(point, cores=value)
