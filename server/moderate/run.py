"""The command from its beginning to its exit code."""

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx2
from rich.console import Console

from server.audit.progress import AuditProgress
from server.audit.stopping import run_until_signal
from server.errors import SightwardError
from server.moderate.asking import Asker
from server.moderate.exit_codes import EXIT_FOUND, EXIT_NOT_JUDGED, FailOn
from server.moderate.files import NamedFile, named_files
from server.moderate.outputs import RowWriter
from server.moderate.rows import FileRow

Connect = Callable[[], AbstractAsyncContextManager[httpx2.AsyncClient]]

_FOUND: dict[FailOn, frozenset[str]] = {
    "block": frozenset({"block"}),
    "review": frozenset({"block", "review"}),
    "never": frozenset(),
}
_NOT_JUDGED = "not judged"


@dataclass(frozen=True, slots=True)
class ModerateOptions:
    """What the command line said; see `command.moderate`."""

    paths: tuple[str, ...]
    listed: tuple[str, ...] = ()
    out: Path | None = None
    is_resumed: bool = False
    fail_on: FailOn = "block"
    at_once: int = 8


class Summary:
    """How many files ended how."""

    def __init__(self) -> None:
        self.files = 0
        self.unjudged = 0
        self.flagged = 0
        self.actions: Tally[str] = Tally()
        self.model_versions: set[str] = set()

    def add(self, row: FileRow) -> None:
        """Count a row."""
        self.files += 1
        self.unjudged += not row.is_judged
        # What could not be judged is no finding: it is counted by itself.
        self.flagged += bool(row.flagged) and row.is_judged
        self.actions[(row.action or _NOT_JUDGED) if row.is_judged else _NOT_JUDGED] += 1
        if row.model_version is not None:
            self.model_versions.add(row.model_version)

    def line(self) -> str:
        """All of it as a sentence."""
        order = ("block", "review", "allow", _NOT_JUDGED)
        counts = ", ".join(f"{self.actions[name]:,} {name}" for name in order)
        return f"{self.files:,} file{'' if self.files == 1 else 's'}: {counts}"

    def exit_code(self, fail_on: FailOn) -> int:
        """What was found weighs more than what could not be judged."""
        if any(self.actions[action] for action in _FOUND[fail_on]):
            return EXIT_FOUND
        return EXIT_NOT_JUDGED if self.unjudged else 0


def run_moderate(
    options: ModerateOptions, connect: Connect, *, stdout: IO[str], console: Console
) -> int:
    """Judge every file; gives the exit code. Raises `SightwardError`, `StoppedError` among them."""
    summary = Summary()
    with RowWriter(options.out, stdout, is_resumed=options.is_resumed) as writer:
        for row in writer.kept:
            summary.add(row)
        done = {row.file for row in writer.kept}
        files = _left(named_files(options.paths, listed=options.listed), done)
        first = next(files, None)
        if first is not None:
            run_until_signal(_judge(first, files, connect, writer, summary, options, console))
    if not summary.files:
        console.print("no picture there", style="yellow")
    console.print(summary.line(), highlight=False)
    if len(summary.model_versions) > 1:
        console.print(f"judged by {len(summary.model_versions)} versions of the model")
    return summary.exit_code(options.fail_on)


def _left(files: Iterable[NamedFile], done: set[str]) -> Iterator[NamedFile]:
    return (file for file in files if file.name not in done)


async def _judge(
    first: NamedFile,
    files: Iterator[NamedFile],
    connect: Connect,
    writer: RowWriter,
    summary: Summary,
    options: ModerateOptions,
    console: Console,
) -> None:
    with console.status("connecting"):
        connection = connect()
        client = await connection.__aenter__()
    try:
        asker = Asker(client)
        with AuditProgress(
            console, already=len(writer.kept), count=lambda: _count(options)
        ) as progress:
            await _judge_all(first, files, asker, writer, summary, progress, options.at_once)
    finally:
        await connection.__aexit__(None, None, None)


def _count(options: ModerateOptions) -> int:
    return sum(1 for _ in named_files(options.paths, listed=options.listed))


async def _judge_all(
    first: NamedFile,
    files: Iterator[NamedFile],
    asker: Asker,
    writer: RowWriter,
    summary: Summary,
    progress: AuditProgress,
    at_once: int,
) -> None:
    waiting: asyncio.Queue[NamedFile | None] = asyncio.Queue(maxsize=2 * at_once)

    async def feed() -> None:
        file: NamedFile | None = first
        while file is not None:
            await waiting.put(file)
            file = await asyncio.to_thread(next, files, None)
        for _ in range(at_once):
            await waiting.put(None)

    async def work() -> None:
        while (file := await waiting.get()) is not None:
            row = await asker.row(file)
            writer.write(row)
            summary.add(row)
            progress.advance(pictures=1, flagged=summary.flagged, unjudged=summary.unjudged)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(feed())
            for _ in range(at_once):
                group.create_task(work())
    except ExceptionGroup as failures:
        ours = [error for error in failures.exceptions if isinstance(error, SightwardError)]
        raise (ours or failures.exceptions)[0] from None
