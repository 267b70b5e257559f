"""The cascade: a safety head alone answers about a picture where it is sure, else the whole model.

It stands before the moderator's questions, not behind the `Engine` seam: whether the head is sure
depends on what its scores are worth (the calibration) and on what would be done about them (the
policy), of which engines know nothing. It fails closed: a head that breaks, says nothing usable or
is not the one that the thresholds were fitted for leaves everything to the whole model.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog
from PIL import Image

from server.concepts.calibration import Calibration, FastPathCalibration
from server.concepts.fast_path import FastPathUse, FastReading, SureBounds, fast_verdict
from server.concepts.policy import Policy
from server.concepts.policy_book import PolicyBook
from server.concepts.verdict import Verdict
from server.errors import NoFastPathError

_log = structlog.get_logger("server")

_PROBE_SIZE = (64, 64)


class FastReader(Protocol):
    """Reads pictures by the head alone; `server.vlm.fast_reader.BatchedReader` does."""

    @property
    def version(self) -> str:
        """Names the head's weights."""
        ...

    async def read(self, image: Image.Image) -> FastReading:
        """What the head says of an RGB picture; concurrent calls are batched."""
        ...

    async def close(self) -> None:
        """Release it; may be called twice."""
        ...


class FastPath:
    """Judges the pictures that the head is sure of. `close` it when done.

    `bounds` say where that is, `fitted` what the head's scores are worth, `use` is for display.
    """

    def __init__(
        self,
        reader: FastReader,
        fitted: FastPathCalibration,
        bounds: SureBounds,
        *,
        use: FastPathUse,
    ) -> None:
        self._reader = reader
        self._fitted = fitted
        self._judgement = fitted.judgement
        self.bounds = bounds
        self.use = use

    @property
    def head(self) -> str:
        """The version of the head's weights."""
        return self._reader.version

    @property
    def version(self) -> str:
        """Names all that decides which path judges a picture, beside the calibration."""
        return f"fast-{self.head}.{self.bounds}"

    def follow(self, policy: Policy | PolicyBook) -> None:
        """Be as sure as another policy lets the head be: perhaps never."""
        self.bounds = policy.sure_bounds(self._fitted) or SureBounds(None, None)
        self.use = policy.fast_path

    async def judge(self, image: Image.Image) -> Verdict | None:
        """The verdict on an RGB picture; None where the head is not sure, or failed."""
        try:
            reading = await self._reader.read(image)
        except Exception as error:
            # Whatever it was, the whole model can still judge the picture.
            _log.warning("the fast path failed", error=str(error), exc_info=error)
            return None
        verdict = fast_verdict(reading, self._judgement)
        if verdict is None or verdict.p_unsafe is None or not self.bounds.covers(verdict.p_unsafe):
            return None
        return verdict

    async def close(self) -> None:
        """Release the head."""
        await self._reader.close()


async def open_fast_path(
    make_reader: Callable[[], FastReader],
    calibration: Calibration | None,
    policy: Policy | PolicyBook,
) -> FastPath:
    """The fast path of a model with this calibration; `make_reader` is called in a thread.

    The head reads one picture before anyone relies on it. Raises `NoFastPathError` where it says
    nothing usable, or where nothing was fitted, for this head or under this policy.
    """
    fitted = None if calibration is None else calibration.fast_path
    if fitted is None:
        raise NoFastPathError("the calibration holds no thresholds for it")
    bounds = policy.sure_bounds(fitted)
    if bounds is None:
        raise NoFastPathError("no threshold that this policy lets it use was found")
    reader = await asyncio.to_thread(make_reader)
    try:
        if reader.version != fitted.head:
            raise NoFastPathError(
                f"its thresholds were fitted for the safety head {fitted.head}, "
                f"the model has {reader.version}; calibrate it anew"
            )
        if not (await reader.read(Image.new("RGB", _PROBE_SIZE, "grey"))).is_usable:
            raise NoFastPathError("the safety head says nothing usable")
    except BaseException:
        await reader.close()
        raise
    return FastPath(reader, fitted, bounds, use=policy.fast_path)
