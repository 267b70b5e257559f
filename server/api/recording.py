"""Puts a call's verdicts on record before they are answered."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from server.api.assessing import Assessed
from server.api.errors import ErrorObject
from server.api.keys import KeyHolder
from server.concepts.actions import Action
from server.concepts.policy_book import TenantPolicy
from server.concepts.verdict import UNREAD
from server.errors import AuditLogError
from server.record.audit_log import AuditLog
from server.record.entries import Route, VerdictEntry, new_id, now_unix_ms
from server.record.kept_images import KeptImages

_TOP_CONCEPTS = 5

_log = structlog.get_logger("server")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asked, under which policy, and how their answer is called.

    `answer_by_s` is when judging has to be done so that an answer still reaches them, by the event
    loop's clock; None: there is no hurry. Who `can_wait` is asked to come back where the model
    can't be asked, whatever the policy makes of such inputs.
    """

    holder: KeyHolder
    policy: TenantPolicy
    request_id: str
    answer_id: str
    route: Route
    answer_by_s: float | None = None
    can_wait: bool = False


@dataclass(frozen=True, slots=True)
class RefusedPart:
    """An input that got a result without being judged, and why."""

    param: str
    error: ErrorObject


@dataclass(frozen=True, slots=True)
class OnRecord:
    """One input as it goes on record: its own action, and its answer's."""

    item: Assessed | RefusedPart
    action: Action
    answer_action: Action
    caller_id: str | None = None


@dataclass(frozen=True, slots=True)
class Recorder:
    """Records calls; `audit` is None where no audit log is kept, `kept` where no pictures are."""

    audit: AuditLog | None = None
    kept: KeptImages | None = None

    async def record(
        self, inputs: Sequence[OnRecord], caller: Caller, *, model_version: str
    ) -> list[str | None]:
        """The inputs' ids on record, None where no record is kept.

        `model_version` is the default's, for inputs that nothing judged. Raises `AuditLogError`
        where writing failed and the caller's policy wants the call to.
        """
        if self.audit is None:
            return [None] * len(inputs)
        entries = [await self._entry(one, caller, model_version) for one in inputs]
        is_written = await self.audit.write(entries)
        if not is_written and caller.policy.policy.audit_failure == "error":
            raise AuditLogError("the verdict was not written")
        return [entry.id for entry in entries]

    async def _entry(self, one: OnRecord, caller: Caller, model_version: str) -> VerdictEntry:
        now_ms = now_unix_ms()
        assessed = one.item if isinstance(one.item, Assessed) else None
        judged = None if assessed is None else assessed.judged
        findings = None if assessed is None else assessed.findings
        verdict = UNREAD if judged is None else judged.verdict
        listed = None if findings is None else findings.listed
        concepts = sorted(verdict.concepts.items(), key=lambda item: item[1], reverse=True)
        entry = VerdictEntry(
            id=new_id(now_ms),
            time_unix_ms=now_ms,
            request_id=caller.request_id,
            answer_id=caller.answer_id,
            route=caller.route,
            tenant=caller.holder.tenant,
            key_id=caller.holder.id,
            input=one.item.param,
            caller_id=one.caller_id,
            modality=None if judged is None else judged.modality,
            fingerprint=None if assessed is None else recorded_fingerprint(assessed),
            outcome=verdict.outcome,
            action=one.action,
            answer_action=one.answer_action,
            p_unsafe=verdict.p_unsafe,
            raw_p_unsafe=verdict.p_unsafe if verdict.raw is None else verdict.raw.p_unsafe,
            categories=dict(verdict.categories),
            concepts=dict(concepts[:_TOP_CONCEPTS]),
            own_concepts={} if findings is None else dict(findings.own_concepts),
            risk_level=None if verdict.risk is None else verdict.risk.level,
            risk_type=None if verdict.risk is None else verdict.risk.type,
            listed=None if listed is None else f"{listed.list}:{listed.source}",
            error=one.item.error.code if isinstance(one.item, RefusedPart) else None,
            judged_by=tuple(sorted(verdict.judged_by)),
            source=None if judged is None or not verdict.judged_by else judged.source,
            model_version=(judged and judged.model_version) or model_version,
            policy_version=caller.policy.version,
            engine_ms=None if judged is None else round(judged.engine_ms, 1),
        )
        if assessed is not None and entry.needs_review and await self._keep(assessed):
            return entry.model_copy(update={"is_kept": True})
        return entry

    async def _keep(self, assessed: Assessed) -> bool:
        """Keep a copy of a picture that people will be asked about; whether there is one."""
        if self.kept is None or isinstance(assessed.content, str):
            return False
        try:
            await asyncio.to_thread(self.kept.keep, assessed.content, assessed.judged.fingerprint)
        except OSError as error:
            _log.error("picture to review not kept", reason=error.strerror)
            return False
        return True


def recorded_fingerprint(assessed: Assessed) -> str | None:
    """A picture's; a text's is none, since short texts can be guessed from their hashes."""
    return None if assessed.judged.modality == "text" else assessed.judged.fingerprint
