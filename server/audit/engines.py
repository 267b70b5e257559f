"""How an audit makes its judge: engine, moderator and policy from what the command line said.

It is a value that can be pickled, so that a cluster's workers make the very same judge.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from server.audit.judge import Judge
from server.cascade import FastPath, FastReader, open_fast_path
from server.concepts.calibration import Calibration, CalibrationChoice, read_calibration
from server.concepts.policy import Policy
from server.concepts.policy_book import load_policy
from server.concepts.probes import load_probes
from server.engine.protocol import Engine
from server.errors import SightwardError
from server.moderator import Moderator, chosen_calibration
from server.settings import Settings

_log = structlog.get_logger("server")


@dataclass(frozen=True, slots=True)
class JudgeSpec:
    """Everything that decides a row. `make_engine` and `make_reader` must be picklable.

    `make_reader` makes what reads pictures without the engine, where the policy wants that.
    """

    settings: Settings
    make_engine: Callable[[Settings], Engine]
    make_reader: Callable[[Settings], FastReader]
    decode_threads: int
    in_flight: int

    def check(self) -> None:
        """Read every file that is named, before anything slow; raises `DataFileError`."""
        load_policy(self.settings.policy)
        load_probes(self.settings.probes)
        _calibration(self.settings)

    async def judge(self, engine: Engine) -> Judge:
        """A judge on a started engine; raises `ConceptsError`."""
        policy = load_policy(self.settings.policy)
        calibration = chosen_calibration(_calibration(self.settings), engine.card)
        fast_path = await self._fast_path(policy, calibration)
        moderator = Moderator(
            engine,
            load_probes(self.settings.probes),
            calibration="none" if calibration is None else calibration,
            fast_path=fast_path,
        )
        return Judge(
            moderator,
            policy,
            limits=self.settings.image_limits(),
            decode_threads=self.decode_threads,
            fast_path=fast_path,
        )

    async def _fast_path(self, policy: Policy, calibration: Calibration | None) -> FastPath | None:
        """The fast path that the policy wants; None, and a warning, where there can't be one."""
        if policy.fast_path == "off":
            return None
        try:
            return await open_fast_path(
                lambda: self.make_reader(self.settings), calibration, policy
            )
        except SightwardError as error:
            # As in the service: slower than was wanted is better than not at all.
            _log.warning("every picture is judged in full", reason=str(error))
            return None


def _calibration(settings: Settings) -> CalibrationChoice:
    if isinstance(settings.calibration, Path):
        return read_calibration(settings.calibration)
    return settings.calibration
