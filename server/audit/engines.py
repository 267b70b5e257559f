"""How an audit makes its judge: engine, moderator and policy from what the command line said.

It is a value that can be pickled, so that a cluster's workers make the very same judge.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from server.audit.judge import Judge
from server.concepts.calibration import CalibrationChoice, read_calibration
from server.concepts.policy_book import load_policy
from server.concepts.probes import load_probes
from server.engine.protocol import Engine
from server.moderator import Moderator
from server.settings import Settings


@dataclass(frozen=True, slots=True)
class JudgeSpec:
    """Everything that decides a row. `make_engine` must be picklable."""

    settings: Settings
    make_engine: Callable[[Settings], Engine]
    decode_threads: int
    in_flight: int

    def check(self) -> None:
        """Read every file that is named, before anything slow; raises `DataFileError`."""
        load_policy(self.settings.policy)
        load_probes(self.settings.probes)
        _calibration(self.settings)

    def judge(self, engine: Engine) -> Judge:
        """A judge on a started engine; raises `ConceptsError`."""
        moderator = Moderator(
            engine,
            load_probes(self.settings.probes),
            calibration=_calibration(self.settings),
        )
        return Judge(
            moderator,
            load_policy(self.settings.policy),
            limits=self.settings.image_limits(),
            decode_threads=self.decode_threads,
        )


def _calibration(settings: Settings) -> CalibrationChoice:
    if isinstance(settings.calibration, Path):
        return read_calibration(settings.calibration)
    return settings.calibration
