"""What takes part in the race: a host (processes that hold a model) and ways of asking it.

Several contenders may share a host: they ask one engine in different ways, one after another, so
that the memory of one engine is enough for all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from server.errors import SightwardError


class NotInstalledError(SightwardError):
    """A peer is not on this machine; `how` says what installs it."""

    def __init__(self, what: str, how: str) -> None:
        super().__init__(f"{what} is not installed: {how}")
        self.what = what
        self.how = how


@dataclass(frozen=True, slots=True)
class Ran:
    """One turn: the wall clock of all of it, of each picture, and what the client's process used.

    `latencies_ms` has one entry a picture, or one a call where a call takes several.
    `client_cpu_s` is 0 where the pictures were read in the peer's own process.
    """

    seconds: float
    latencies_ms: tuple[float, ...]
    client_cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Turn:
    """What a contender is given: files that no cache has seen, also lying in `folder`."""

    files: Sequence[bytes]
    folder: Path
    at_once: int


class Host(Protocol):
    """The processes behind one or more contenders; entering starts them, leaving ends them."""

    def __enter__(self) -> Self:
        """Start, without waiting; raises `NotInstalledError`."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes."""
        ...

    def wait_until_ready(self) -> object:
        """Block until it can be asked."""
        ...

    @property
    def pid(self) -> int:
        """The first of its processes; the others are below it."""
        ...


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of the table.

    `host` is a key of the line-up's hosts. `share` is how many of a round's pictures it is given: a
    slow one gets fewer, or a round would take minutes. `is_serial` where it takes one picture at a
    time by its nature; its speed is then that of one picture after another.
    """

    name: str
    title: str
    host: str
    judge: Callable[[Turn], Ran]
    share: float = 1.0
    is_serial: bool = False
    note: str = ""
