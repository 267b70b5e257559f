"""What a fault is given to work with: a running service, pictures, and how long it may take."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import MeasurementError
from benchmarks.faults.asking import Asked, ask
from benchmarks.faults.load import ClosedLoop
from benchmarks.faults.pictures import Drawings, Labelled
from benchmarks.faults.redis_server import RedisServer
from benchmarks.faults.service import EngineKind, Service
from benchmarks.load.wire import Wire


@dataclass(frozen=True, slots=True)
class FaultsConfig:
    """How hard and how long: `seconds` is the overload's, other faults take a share of it.

    `clients` is how many a closed loop has, `kills` how often the engine is killed, `overload` how
    many times its capacity the service is sent.
    """

    engine: EngineKind = "real"
    seconds: float = 60.0
    clients: int = 16
    kills: int = 3
    overload: float = 4.0
    deadline_s: float = 10.0
    seed: int = 2024


@dataclass(frozen=True, slots=True)
class Stand:
    """One running service and all around it that can break; None for what this one has not.

    `faketime` is the file that says what time it is for the service.
    """

    config: FaultsConfig
    service: Service
    drawings: Drawings
    scratch: Path
    redis: RedisServer | None = None
    policy: Path | None = None
    audit: Path | None = None
    faketime: Path | None = None

    def share_s(self, share: float) -> float:
        """So much of the overload's duration, at least two seconds."""
        return max(2.0, share * self.config.seconds)

    def closed_loop(
        self,
        wire: Wire,
        *,
        clients: int | None = None,
        headers: Mapping[str, str] | None = None,
        leave_when_refused: bool = False,
    ) -> ClosedLoop:
        """The configured clients, or as many, on fresh pictures."""

        async def ask_one(picture: Labelled) -> Asked:
            return await ask(wire, picture, headers=headers)

        return ClosedLoop(
            ask_one,
            self.drawings.next,
            clients=self.config.clients if clients is None else clients,
            leave_when_refused=leave_when_refused,
        )

    def need_policy(self) -> Path:
        """The policy file that the service reads."""
        return _there(self.policy, "policy file")

    def need_audit(self) -> Path:
        """The small disk that the audit log is on."""
        return _there(self.audit, "disk for the audit log")

    def need_faketime(self) -> Path:
        """The file that sets the service's clock."""
        return _there(self.faketime, "clock of its own")


def _there(path: Path | None, name: str) -> Path:
    if path is None:
        raise MeasurementError(f"the service was started without a {name}")
    return path


def scratch_folder() -> "tempfile.TemporaryDirectory[str]":
    """A folder for logs and whatever is to be broken."""
    return tempfile.TemporaryDirectory(prefix="sightward-faults-")
