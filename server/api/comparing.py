"""What two models make of one input, found out beside the answer and never in its way.

A shadow is asked about its share of what the default answered; the default is asked about a share
of what the canary answered. A comparison begins when the answer is ready, a few at a time and only
while the server has capacity to spare: what does not fit is dropped and counted, never queued.
A content is compared once, as long as the cache remembers what both said of it.
"""

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from server.api.assessing import Assessed, Assessor
from server.api.recording import Caller, OnRecord, recorded_fingerprint
from server.errors import SightwardError
from server.moderator import Moderator
from server.record.audit_log import AuditLog
from server.record.entries import ComparisonEntry, Said, new_id, now_unix_ms
from server.rollout.model_set import ModelSet
from server.rollout.roles import Role, is_in_share
from server.telemetry.rollout_metrics import RolloutMetrics, SkipReason

_log = structlog.get_logger("server")


@dataclass(frozen=True, slots=True)
class CompareRules:
    """At most `at_once` together, each within `timeout_s`.

    The default is asked about `canary_percent` of what the canary answered.
    """

    at_once: int = 2
    timeout_s: float = 30.0
    canary_percent: float = 100.0


@dataclass(frozen=True, slots=True)
class _Pair:
    """An input that one model has judged, and the other that is to."""

    answered: Assessed
    other: Moderator
    role: Role
    one: OnRecord
    verdict_id: str | None
    caller: Caller


class Comparer:
    """Compares in the background until it is closed. `has_room` tells of capacity to spare."""

    def __init__(
        self,
        models: ModelSet,
        assessor: Assessor,
        metrics: RolloutMetrics,
        *,
        audit: AuditLog | None,
        has_room: Callable[[], bool],
        rules: CompareRules,
    ) -> None:
        self._models = models
        self._assessor = assessor
        self._metrics = metrics
        self._audit = audit
        self._has_room = has_room
        self._rules = rules
        self._running: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def offer(
        self,
        inputs: Sequence[OnRecord],
        verdict_ids: Sequence[str | None],
        caller: Caller,
        default: Moderator,
    ) -> None:
        """Begin what is to be compared of an answered call; returns at once.

        `default` is the model that the call began with, `verdict_ids` its inputs' on record.
        """
        if self._is_closed:
            return
        for one, verdict_id in zip(inputs, verdict_ids, strict=True):
            if isinstance(one.item, Assessed) and one.item.judged.model_version is not None:
                self._offer(one.item, one, verdict_id, caller, default)

    def close(self) -> None:
        """Begin nothing more, and give up what runs."""
        self._is_closed = True
        for task in self._running:
            task.cancel()

    async def settled(self) -> None:
        """Wait until nothing runs."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def _offer(
        self,
        answered: Assessed,
        one: OnRecord,
        verdict_id: str | None,
        caller: Caller,
        default: Moderator,
    ) -> None:
        role = self._role(answered)
        if role is None:
            return
        other = default if role is Role.CANARY else self._shadow()
        if other is None:
            self._skip(role, "unready")
        elif len(self._running) >= self._rules.at_once or not self._has_room():
            self._skip(role, "busy")
        else:
            pair = _Pair(answered, other, role, one, verdict_id, caller)
            # Not in the request's context: its trace is over, and its log line written.
            task = asyncio.create_task(self._compare(pair), context=contextvars.Context())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _role(self, answered: Assessed) -> Role | None:
        """The role that an input is compared for; None: for none."""
        fingerprint = answered.judged.fingerprint
        if answered.judged.source == "near_duplicate":
            return None
        if answered.by is Role.CANARY:
            percent = self._rules.canary_percent
            is_compared = is_in_share(fingerprint, percent, salt="compare")
            return Role.CANARY if is_compared else None
        share = self._models.roles.shadow
        return Role.SHADOW if share is not None and share.takes(fingerprint, "shadow") else None

    def _shadow(self) -> Moderator | None:
        share = self._models.roles.shadow
        serving = None if share is None else self._models.serving(share.name)
        return None if serving is None else serving.moderator

    async def _compare(self, pair: _Pair) -> None:
        try:
            async with asyncio.timeout(self._rules.timeout_s):
                other = await self._assessor.again(pair.answered, pair.other, pair.caller.policy)
        except Exception as error:
            # Nobody waits for it, so nobody else would hear of it.
            is_ours = isinstance(error, SightwardError | TimeoutError)
            _log.debug("not compared", error=str(error), exc_info=None if is_ours else error)
            self._skip(pair.role, "failed")
            return
        if not isinstance(other, Assessed):
            self._skip(pair.role, "failed")
            return
        if {pair.answered.judged.source, other.judged.source} == {"cache"}:
            return  # compared when it was judged
        entry = _entry(pair, other)
        self._count(entry)
        if self._audit is not None:
            await self._audit.write([entry])

    def _count(self, entry: ComparisonEntry) -> None:
        self._metrics.comparisons.labels(entry.role).inc()
        if entry.disagrees:
            actions = entry.default.action.value, entry.other.action.value
            self._metrics.disagreements.labels(entry.role, *actions).inc()
        if entry.difference is not None:
            self._metrics.differences.labels(entry.role).observe(entry.difference)

    def _skip(self, role: Role, reason: SkipReason) -> None:
        self._metrics.skipped.labels(role.value, reason).inc()


def _entry(pair: _Pair, other: Assessed) -> ComparisonEntry:
    now_ms, caller, answered = now_unix_ms(), pair.caller, pair.answered
    said = [_said(one, caller) for one in (answered, other)]
    is_canary = pair.role is Role.CANARY
    return ComparisonEntry(
        id=new_id(now_ms),
        time_unix_ms=now_ms,
        verdict_id=pair.verdict_id,
        request_id=caller.request_id,
        route=caller.route,
        tenant=caller.holder.tenant,
        key_id=caller.holder.id,
        input=answered.param,
        caller_id=pair.one.caller_id,
        modality=answered.judged.modality,
        fingerprint=recorded_fingerprint(answered),
        role="canary" if is_canary else "shadow",
        answered_by="canary" if is_canary else "default",
        default=said[1] if is_canary else said[0],
        other=said[0] if is_canary else said[1],
        policy_version=caller.policy.version,
    )


def _said(assessed: Assessed, caller: Caller) -> Said:
    verdict = assessed.judged.verdict
    return Said(
        model_version=assessed.judged.model_version or "",
        outcome=verdict.outcome,
        action=caller.policy.policy.decide(verdict, assessed.findings).action,
        p_unsafe=verdict.p_unsafe,
    )
