"""``sightward audit-models``: what two models made of the same inputs, and who was what."""

from collections import Counter, deque
from collections.abc import Iterable
from typing import Literal

from server.record.command import existing_store, fail_in_one_line, say, shown_time
from server.record.entries import ComparisonEntry, RolloutEntry, now_unix_ms
from server.record.periods import unix_ms
from server.record.query import ModelQuery


def audit_models(
    *,
    log: str | None = None,
    show: Literal["disagreements", "comparisons", "changes"] = "disagreements",
    since: str | None = None,
    until: str | None = None,
    role: Literal["canary", "shadow"] | None = None,
    tenant: str | None = None,
    fingerprint: str | None = None,
    count: bool = False,
    limit: int = 50,
    output: Literal["table", "jsonl"] = "table",
) -> None:
    """Search the audit log for what a canary or shadow says beside the default, or for changes.

    Parameters
    ----------
    log
        The folder or database to search; SIGHTWARD_AUDIT_LOG by default.
    show
        Inputs on which another action would follow, all compared inputs, or changes of roles.
    since
        From then on: 30m, 24h, 7d, 2w (ago), or a date or time in UTC.
    until
        Up to then.
    role
        Of the canary's or the shadow's alone.
    tenant
        Whose inputs.
    fingerprint
        Which picture, by the SHA-256 of its pixels.
    count
        Count by both actions, or by change, instead of listing.
    limit
        List at most so many, the newest; 0: all.
    output
        A table, or one JSON object a line with every field.
    """

    def run() -> None:
        now_ms = now_unix_ms()
        query = ModelQuery(
            kind="rollout" if show == "changes" else "comparison",
            since_ms=None if since is None else unix_ms(since, now_unix_ms=now_ms),
            until_ms=None if until is None else unix_ms(until, now_unix_ms=now_ms),
            role=role,
            tenant=tenant,
            fingerprint=fingerprint,
            disagree=show == "disagreements" and not count,
        )
        store = existing_store(log)
        try:
            found = store.about_models(query)
            if count:
                _show_counts(found)
            else:
                _show(deque(found, maxlen=limit or None), output)
        finally:
            store.close()

    fail_in_one_line(run)


def _show(entries: Iterable[ComparisonEntry | RolloutEntry], output: str) -> None:
    if output == "jsonl":
        for entry in entries:
            say(entry.model_dump_json())
        return
    from rich.console import Console
    from rich.table import Table

    compared = Table("time (UTC)", "role", "default", "other", "input", "key", "picture")
    changed = Table("time (UTC)", "change", "model", "default", "canary", "shadow", "by")
    for entry in entries:
        time = shown_time(entry.time_unix_ms)
        if isinstance(entry, ComparisonEntry):
            compared.add_row(
                time,
                entry.role,
                _said(entry.default.action, entry.default.p_unsafe),
                _said(entry.other.action, entry.other.p_unsafe),
                entry.caller_id or entry.input,
                f"{entry.tenant}/{entry.key_id}",
                (entry.fingerprint or "")[:12],
            )
        else:
            changed.add_row(
                time,
                entry.change,
                f"{entry.name} ({entry.model})",
                entry.default,
                _share(entry.canary, entry.canary_percent),
                _share(entry.shadow, entry.shadow_percent),
                entry.key_id,
            )
    Console().print(changed if changed.row_count else compared)


def _show_counts(entries: Iterable[ComparisonEntry | RolloutEntry]) -> None:
    from rich.console import Console
    from rich.table import Table

    counts = Counter(_kind(entry) for entry in entries)
    table = Table("what", "times")
    for kind, times in counts.most_common():
        table.add_row(kind, str(times))
    table.add_section()
    table.add_row("all", str(counts.total()))
    Console().print(table)


def _kind(entry: ComparisonEntry | RolloutEntry) -> str:
    if isinstance(entry, RolloutEntry):
        return entry.change
    return f"{entry.role}: {entry.default.action} -> {entry.other.action}"


def _said(action: str, p_unsafe: float | None) -> str:
    return action if p_unsafe is None else f"{action} {p_unsafe:.3f}"


def _share(name: str | None, percent: float | None) -> str:
    return "" if name is None else f"{name} {percent:g}%"
