"""``sightward audit`` and ``sightward export-reviews``: the audit log from the command line."""

import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from server.concepts.actions import Action
from server.errors import AuditLogError, SettingsError, SightwardError
from server.record.entries import Review, VerdictEntry, now_unix_ms
from server.record.opening import is_database, open_store
from server.record.periods import unix_ms
from server.record.query import ReviewQuery, ReviewStatus, VerdictQuery
from server.record.store import AuditStore, ReviewStore

if TYPE_CHECKING:
    from server.settings import Settings

EXIT_UNUSABLE = 2
_PAGE = 500

Countable = Literal[
    "action",
    "outcome",
    "tenant",
    "key_id",
    "route",
    "modality",
    "listed",
    "error",
    "model_version",
    "policy_version",
]


def audit(
    *,
    log: str | None = None,
    since: str | None = None,
    until: str | None = None,
    action: Action | None = None,
    tenant: str | None = None,
    key: str | None = None,
    fingerprint: str | None = None,
    id: str | None = None,  # noqa: A002 - the option's name
    request: str | None = None,
    model_version: str | None = None,
    policy_version: str | None = None,
    count: Countable | None = None,
    limit: int = 50,
    output: Literal["table", "jsonl"] = "table",
) -> None:
    """Search the audit log: which verdicts were given, to whom, under which versions.

    Parameters
    ----------
    log
        The folder or database to search; SIGHTWARD_AUDIT_LOG by default.
    since
        From then on: 30m, 24h, 7d, 2w (ago), or a date or time in UTC.
    until
        Up to then.
    action
        Inputs with this action of their own.
    tenant
        Whose keys.
    key
        Which key, by its id.
    fingerprint
        Which picture, by the SHA-256 of its pixels.
    id
        Which input, by the caller's own name.
    request
        Which request, by its x-request-id.
    model_version
        Judged by exactly this version.
    policy_version
        Decided under exactly this policy.
    count
        Count by this field instead of listing.
    limit
        List at most so many, the newest; 0: all.
    output
        A table, or one JSON object a line with every field.
    """

    def run() -> None:
        now_ms = now_unix_ms()
        query = VerdictQuery(
            since_ms=None if since is None else unix_ms(since, now_unix_ms=now_ms),
            until_ms=None if until is None else unix_ms(until, now_unix_ms=now_ms),
            action=action,
            tenant=tenant,
            key_id=key,
            fingerprint=fingerprint,
            caller_id=id,
            request_id=request,
            model_version=model_version,
            policy_version=policy_version,
        )
        store = existing_store(log)
        try:
            if count is not None:
                _show_counts(store.verdicts(query), count)
            else:
                _show(store.verdicts(query), limit, output)
        finally:
            store.close()

    fail_in_one_line(run)


def export_reviews(
    out: Path,
    *,
    log: str | None = None,
    pictures: Path | None = None,
    kept: Path | None = None,
    tenant: str | None = None,
) -> None:
    """Write the decided reviews as a labelled set of pictures that 'alignment' trains on.

    Parameters
    ----------
    out
        The folder to write: manifest.jsonl, images, and missing.jsonl for pictures not found.
    log
        The audit log's folder or database; SIGHTWARD_AUDIT_LOG by default.
    pictures
        A folder that holds the pictures, under whatever names: they are known by their pixels.
    kept
        The folder of kept copies; SIGHTWARD_KEEP_IMAGES by default.
    tenant
        Of this tenant alone.
    """
    from server.record.export import export_reviews as export

    def run() -> None:
        settings = _settings()
        store = existing_store(log)
        try:
            done = export(
                _all_reviews(store, "decided", tenant),
                out,
                pictures=pictures,
                kept=kept or settings.keep_images,
                limits=settings.image_limits(),
            )
        finally:
            store.close()
        say(f"{done.written} pictures in {out}; of {done.missing} the picture was not found")

    fail_in_one_line(run)


def _all_reviews(store: ReviewStore, status: ReviewStatus, tenant: str | None) -> Iterator[Review]:
    after = ""
    while page := store.reviews(ReviewQuery(status, tenant, after, _PAGE)):
        yield from page
        after = page[-1].verdict.id


def existing_store(log: str | None) -> AuditStore:
    """The log to read; a command that only reads makes none."""
    if log is None:
        set_log = _settings().audit_log
        if set_log is None:
            raise AuditLogError("which audit log? give --log, or set SIGHTWARD_AUDIT_LOG")
        log = set_log.get_secret_value()
    if not is_database(log) and not Path(log).is_dir():
        raise AuditLogError(f"{log}: no such folder")
    return open_store(log)


def _settings() -> "Settings":
    from server.settings import read_settings

    return read_settings()


def _show(entries: Iterable[VerdictEntry], limit: int, output: Literal["table", "jsonl"]) -> None:
    newest = deque(entries, maxlen=limit or None)
    if output == "jsonl":
        for entry in newest:
            say(entry.model_dump_json())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("time (UTC)", "action", "p_unsafe", "most likely", "input", "key", "picture")
    for entry in newest:
        table.add_row(
            shown_time(entry.time_unix_ms),
            entry.action,
            "" if entry.p_unsafe is None else f"{entry.p_unsafe:.3f}",
            entry.error or entry.listed or _likeliest(entry.categories),
            entry.caller_id or entry.input,
            f"{entry.tenant}/{entry.key_id}",
            (entry.fingerprint or "")[:12],
        )
    Console().print(table)
    if limit and len(newest) == limit:
        say(f"The newest {limit}; --limit 0 shows all.")


def _show_counts(entries: Iterable[VerdictEntry], field: Countable) -> None:
    from rich.console import Console
    from rich.table import Table

    counts = Counter(str(getattr(entry, field)) for entry in entries)
    table = Table(field, "verdicts")
    for value, found in counts.most_common():
        table.add_row(value, str(found))
    table.add_section()
    table.add_row("all", str(counts.total()))
    Console().print(table)


def _likeliest(scores: dict[str, float]) -> str:
    return max(scores, key=lambda name: scores[name], default="")


def shown_time(time_unix_ms: int) -> str:
    """A time as the tables show it, in UTC."""
    return datetime.fromtimestamp(time_unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def fail_in_one_line(run: Callable[[], None]) -> None:
    """Every error of ours as one line and an exit code, never as a traceback."""
    try:
        run()
    except SettingsError as error:
        _fail(*error.problems)
    except (SightwardError, ValueError, OSError) as error:
        _fail(str(error))


def say(text: str) -> None:
    """Print a line of the command's own output."""
    print(text)  # noqa: T201 - a command's own output


def _fail(*problems: str) -> None:
    for problem in problems:
        print(f"sightward: {problem}", file=sys.stderr)  # noqa: T201
    sys.exit(EXIT_UNUSABLE)
