"""Who changed which model's role, and when: in the log and, where one is kept, on record."""

import asyncio
from typing import Literal

import structlog

from server.record.audit_log import AuditLog
from server.record.entries import RolloutChange, RolloutEntry, new_id, now_unix_ms
from server.rollout.roles import Roles

_log = structlog.get_logger("server")

BY_SETTINGS: Literal["settings"] = "settings"
BY_SERVER: Literal["server"] = "server"
"""Stand in a key's place where no caller asked for the change."""


class Journal:
    """Notes changes without holding anything up; `close` it when done."""

    def __init__(self, audit: AuditLog | None = None) -> None:
        self._audit = audit
        self._writing: set[asyncio.Task[bool]] = set()

    def note(
        self,
        change: RolloutChange,
        *,
        name: str,
        model: str,
        model_version: str | None,
        roles: Roles,
        key_id: str,
    ) -> None:
        """Note a change; `roles` are those after it."""
        now_ms = now_unix_ms()
        percents = [one and one.percent for one in (roles.canary, roles.shadow)]
        entry = RolloutEntry(
            id=new_id(now_ms),
            time_unix_ms=now_ms,
            change=change,
            name=name,
            model=model,
            model_version=model_version,
            default=roles.default,
            previous=roles.previous,
            canary=roles.canary and roles.canary.name,
            canary_percent=percents[0],
            shadow=roles.shadow and roles.shadow.name,
            shadow_percent=percents[1],
            key_id=key_id,
        )
        _log.info("models changed", **entry.model_dump(exclude={"kind", "id", "time_unix_ms"}))
        if self._audit is not None:
            writing = asyncio.create_task(self._audit.write([entry]))
            self._writing.add(writing)
            writing.add_done_callback(self._writing.discard)

    async def close(self) -> None:
        """Wait until all is written."""
        await asyncio.gather(*self._writing, return_exceptions=True)
