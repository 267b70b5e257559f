"""The audit log in a database, which several servers can share: SQLite, or Postgres with a driver.

Three tables, made if they are missing: entries are inserted and, when they are too old, deleted,
but never changed. What is searched by has a column; the whole entry lies beside it as JSON, so that
a new field needs no new column.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from server.errors import AuditLogError
from server.record.entries import (
    ENTRY,
    ComparisonEntry,
    DecisionEntry,
    Entry,
    Review,
    RolloutEntry,
    VerdictEntry,
)
from server.record.query import SEARCHED, ModelQuery, ReviewQuery, VerdictQuery

if TYPE_CHECKING:
    import sqlalchemy as sa

_PAGE_ROWS = 500
_TIMEOUT_S = 5


class SqlStore:
    """An `AuditStore` at an SQLAlchemy URL. Raises `AuditLogError` when it can't be opened."""

    def __init__(self, url: str) -> None:
        try:
            import sqlalchemy as sa
        except ImportError as error:
            raise AuditLogError(
                "a database as audit log needs SQLAlchemy: install sightward[sql]"
            ) from error
        self._sa = sa
        self._verdicts, self._decisions, self._of_models, metadata = _tables()
        try:
            self._engine = sa.create_engine(url, **_options(url))
            with self._guarded():
                metadata.create_all(self._engine)
        except (sa.exc.ArgumentError, ImportError) as error:
            # The URL itself may hold a password.
            raise AuditLogError(f"the database's URL can't be used: {_reason(error)}") from error

    def _guarded(self) -> "_Guarded":
        return _Guarded(self._sa.exc.SQLAlchemyError)

    def append(self, entries: Sequence[Entry]) -> None:
        """Insert all entries in one transaction."""
        verdicts = [_verdict_row(entry) for entry in entries if isinstance(entry, VerdictEntry)]
        decisions = [_decision_row(entry) for entry in entries if isinstance(entry, DecisionEntry)]
        of_models = [
            _model_row(entry)
            for entry in entries
            if isinstance(entry, ComparisonEntry | RolloutEntry)
        ]
        tables = (self._verdicts, self._decisions, self._of_models)
        with self._guarded(), self._engine.begin() as connection:
            for table, rows in zip(tables, (verdicts, decisions, of_models), strict=True):
                if rows:
                    connection.execute(self._sa.insert(table), rows)

    def verdicts(self, query: VerdictQuery) -> Iterator[VerdictEntry]:
        """The verdicts that are asked for, a page at a time."""
        table = self._verdicts.c
        wanted = [table[name] == value for name, value in query.exact.items()]
        wanted += _within(table, query)
        for entry in self._pages(table, wanted):
            yield VerdictEntry.model_validate_json(entry)

    def about_models(self, query: ModelQuery) -> Iterator[ComparisonEntry | RolloutEntry]:
        """The entries about models that are asked for, a page at a time."""
        table = self._of_models.c
        wanted = [table.kind == query.kind, *_within(table, query)]
        if query.kind == "comparison" and query.disagree:
            wanted.append(table.disagrees)
        for found in self._pages(table, wanted):
            entry = ENTRY.validate_json(found)
            if isinstance(entry, ComparisonEntry | RolloutEntry) and query.takes(entry):
                yield entry

    def _pages(self, table: Any, wanted: "list[sa.ColumnElement[bool]]") -> Iterator[str]:
        """The entries of a table, as JSON, in order."""
        after = ""
        while True:
            page = (
                self._sa.select(table.id, table.entry)
                .where(*wanted, table.id > after)
                .order_by(table.id)
                .limit(_PAGE_ROWS)
            )
            with self._guarded(), self._engine.connect() as connection:
                rows = connection.execute(page).all()
            for row in rows:
                yield row.entry
            if len(rows) < _PAGE_ROWS:
                return
            after = rows[-1].id

    def reviews(self, query: ReviewQuery) -> list[Review]:
        """The reviews that are asked for."""
        table, latest = self._verdicts.c, self._latest()
        wanted = [table.needs_review, table.id > query.after]
        if query.tenant is not None:
            wanted.append(table.tenant == query.tenant)
        if query.status != "any":
            is_open = latest.c.entry.is_(None)
            wanted.append(is_open if query.status == "open" else ~is_open)
        return self._reviews(latest, wanted, query.limit)

    def review(self, verdict_id: str) -> Review | None:
        """The review of one verdict."""
        table = self._verdicts.c
        found = self._reviews(self._latest(), [table.needs_review, table.id == verdict_id], 1)
        return found[0] if found else None

    def _latest(self) -> "sa.Subquery":
        """Each verdict's newest decision."""
        table = self._decisions.c
        newest = (
            self._sa.select(table.verdict_id, self._sa.func.max(table.id).label("id"))
            .group_by(table.verdict_id)
            .subquery()
        )
        return (
            self._sa.select(table.verdict_id, table.entry)
            .join(newest, newest.c.id == table.id)
            .subquery("latest")
        )

    def _reviews(
        self, latest: "sa.Subquery", wanted: "list[sa.ColumnElement[bool]]", limit: int
    ) -> list[Review]:
        table = self._verdicts.c
        rows = (
            self._sa.select(table.entry, latest.c.entry.label("decision"))
            .select_from(self._verdicts.outerjoin(latest, latest.c.verdict_id == table.id))
            .where(*wanted)
            .order_by(table.id)
            .limit(limit)
        )
        with self._guarded(), self._engine.connect() as connection:
            return [
                Review(
                    verdict=VerdictEntry.model_validate_json(row.entry),
                    decision=None
                    if row.decision is None
                    else DecisionEntry.model_validate_json(row.decision),
                )
                for row in connection.execute(rows)
            ]

    def prune(self, before_unix_ms: int) -> int:
        """Delete older entries."""
        with self._guarded(), self._engine.begin() as connection:
            return sum(
                connection.execute(
                    self._sa.delete(table).where(table.c.time_unix_ms < before_unix_ms)
                ).rowcount
                for table in (self._verdicts, self._decisions, self._of_models)
            )

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


class _Guarded:
    """Turns the database's errors into ours, without what was written."""

    def __init__(self, errors: type[Exception]) -> None:
        self._errors = errors

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, self._errors):
            raise AuditLogError(f"the database failed: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The driver's own words where there are any: the library's repeat the statement and values."""
    return str(getattr(error, "orig", None) or error).strip().split("\n")[0][:200]


def _options(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": _TIMEOUT_S}}
    # A connection that the database dropped meanwhile is replaced, not failed on.
    return {"pool_pre_ping": True, "pool_timeout": _TIMEOUT_S}


def _tables() -> "tuple[sa.Table, sa.Table, sa.Table, sa.MetaData]":
    import sqlalchemy as sa

    metadata = sa.MetaData()
    verdicts = sa.Table(
        "sightward_verdicts",
        metadata,
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("time_unix_ms", sa.BigInteger, nullable=False, index=True),
        *(
            sa.Column(name, sa.String(500), nullable=name in _NULLABLE, index=name in _INDEXED)
            for name in SEARCHED
        ),
        sa.Column("needs_review", sa.Boolean, nullable=False, index=True),
        sa.Column("entry", sa.Text, nullable=False),
    )
    decisions = sa.Table(
        "sightward_decisions",
        metadata,
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("time_unix_ms", sa.BigInteger, nullable=False, index=True),
        sa.Column("verdict_id", sa.String(64), nullable=False, index=True),
        sa.Column("entry", sa.Text, nullable=False),
    )
    of_models = sa.Table(
        "sightward_model_entries",
        metadata,
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("time_unix_ms", sa.BigInteger, nullable=False, index=True),
        sa.Column("kind", sa.String(20), nullable=False, index=True),
        sa.Column("disagrees", sa.Boolean, nullable=False),
        sa.Column("entry", sa.Text, nullable=False),
    )
    return verdicts, decisions, of_models, metadata


_NULLABLE = frozenset({"fingerprint", "caller_id"})
_INDEXED = frozenset({"fingerprint", "caller_id", "request_id"})


def _verdict_row(entry: VerdictEntry) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(entry, name) for name in SEARCHED}
    return row | {
        "id": entry.id,
        "time_unix_ms": entry.time_unix_ms,
        "action": entry.action.value,
        "needs_review": entry.needs_review,
        "entry": entry.model_dump_json(),
    }


def _decision_row(entry: DecisionEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "time_unix_ms": entry.time_unix_ms,
        "verdict_id": entry.verdict_id,
        "entry": entry.model_dump_json(),
    }


def _model_row(entry: ComparisonEntry | RolloutEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "time_unix_ms": entry.time_unix_ms,
        "kind": entry.kind,
        "disagrees": isinstance(entry, ComparisonEntry) and entry.disagrees,
        "entry": entry.model_dump_json(),
    }


def _within(table: Any, query: VerdictQuery | ModelQuery) -> "list[sa.ColumnElement[bool]]":
    """The query's period."""
    wanted = []
    if query.since_ms is not None:
        wanted.append(table.time_unix_ms >= query.since_ms)
    if query.until_ms is not None:
        wanted.append(table.time_unix_ms < query.until_ms)
    return wanted
