"""The canary's share: asked first, and never the reason why a caller gets no verdict.

Whatever goes wrong with it (it is loading, dead, slow, refuses what the default may take, breaks)
is counted, and the default judges in its place.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from server.errors import EngineUnavailableError
from server.moderator import Moderator
from server.rollout.model_set import ModelSet
from server.telemetry.rollout_metrics import FallbackReason, RolloutMetrics

_log = structlog.get_logger("server")

Assessment = TypeVar("Assessment")


class CanaryRoute:
    """Has the canary judge its contents, each within `timeout_s`."""

    def __init__(self, models: ModelSet, metrics: RolloutMetrics, *, timeout_s: float) -> None:
        self._models = models
        self._metrics = metrics
        self._timeout_s = timeout_s

    async def first(
        self, fingerprint: str, judge: Callable[[Moderator], Awaitable[Assessment | Exception]]
    ) -> Assessment | None:
        """What the canary makes of a content; None where the default is to judge it.

        A refusal that `judge` returns is none of the default's, so it is asked too.
        """
        share = self._models.roles.canary
        if share is None or not share.takes(fingerprint, "canary"):
            self._metrics.inputs.labels("default").inc()
            return None
        assessed = await self._judged(share.name, judge)
        self._metrics.inputs.labels("default" if assessed is None else "canary").inc()
        return assessed

    async def _judged(
        self, name: str, judge: Callable[[Moderator], Awaitable[Assessment | Exception]]
    ) -> Assessment | None:
        serving = self._models.serving(name)
        reason: FallbackReason = "failed"
        if serving is None:
            reason = "unready"
        else:
            try:
                async with asyncio.timeout(self._timeout_s) as limit:
                    assessed = await judge(serving.moderator)
                if not isinstance(assessed, Exception):
                    return assessed
            except EngineUnavailableError:
                pass
            except TimeoutError:
                if not limit.expired():
                    raise
                reason = "timeout"
            except Exception as error:
                # It is there to be found out about, at nobody's cost.
                _log.warning("the canary failed", model=name, error=str(error), exc_info=error)
        self._metrics.fallbacks.labels(reason).inc()
        return None
