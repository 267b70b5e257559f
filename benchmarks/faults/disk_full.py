"""The audit log's disk is full: answers go on or fail, as the policy says, each loss is counted, no
line is ever half written, and it goes on by itself once there is room.

The disk is a small file system in memory, mounted for the purpose, which takes root.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks.faults.asking import Tally, tally
from benchmarks.faults.goals import FaultReport, at_least, holds, none_of
from benchmarks.faults.policy_file import write_policy
from benchmarks.faults.stand import Stand
from benchmarks.load.wire import Wire

NAME, TITLE = "disk-full", "disk full for the audit log"

_DISK_KIB = 1024
_FILLER = "filler"
_POLICY_WAIT_S = 1.5
_ENTRIES = "sightward_audit_entries_total"


def cannot_run() -> str | None:
    """Why not; None: it can."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return "mounting a small disk takes root"
    return None


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A disk of 1 MiB at `folder`; None where it can't be mounted."""
    folder.mkdir()
    if cannot_run() is not None:
        yield None
        return
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_KIB}k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:  # noqa: S603
        yield None
        return
    try:
        yield folder
    finally:
        # Lazily: whoever still has a file open there must not keep it mounted.
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)  # noqa: S603, S607


async def run(stand: Stand) -> FaultReport:
    """Fill the disk under load with either policy, then make room."""
    if stand.audit is None:
        return FaultReport(NAME, TITLE, not_run=cannot_run() or "the disk could not be mounted")
    seconds = stand.share_s(0.08)
    policy = stand.need_policy()
    async with Wire(stand.service.url) as wire:
        roomy = await _measured(stand, wire, seconds)
        before = await _counts(stand)
        fill(stand.audit)
        going_on = await _measured(stand, wire, seconds)
        write_policy(policy, audit_failure="error")
        await asyncio.sleep(_POLICY_WAIT_S)
        closed = await _measured(stand, wire, seconds)
        full = await _counts(stand)
        (stand.audit / _FILLER).unlink()
        again = await _measured(stand, wire, seconds)
        after = await _counts(stand)
        write_policy(policy)
        await asyncio.sleep(_POLICY_WAIT_S)
    lines = read_lines(stand.audit)
    failed = full.failed - before.failed
    phases = (roomy, going_on, closed, again)
    return FaultReport(
        NAME,
        TITLE,
        goals=(
            none_of(
                "requests failed or lost", sum(one.failed + one.lost + one.late for one in phases)
            ),
            none_of("unsafe pictures let through", sum(one.let_through for one in phases)),
            at_least('answered while full, as "continue" says', going_on.answered, 1),
            none_of('answered while full, against "error"', closed.answered),
            at_least("losses counted", failed, max(1, going_on.answered)),
            none_of("half lines on disk", lines.broken),
            holds("every line that was counted is there", lines.whole == after.written),
            at_least("written again with room", after.written - full.written, 1),
            none_of("refused again with room", again.refused),
        ),
        figures={
            "roomy": asdict(roomy),
            "full_continue": asdict(going_on),
            "full_error": asdict(closed),
            "roomy_again": asdict(again),
            "entries_written": after.written,
            "entries_failed": after.failed,
            "lines_whole": lines.whole,
            "lines_broken": lines.broken,
        },
        note=f"a tmpfs of {_DISK_KIB} KiB; {failed:.0f} entries could not be written",
    )


def fill(disk: Path) -> None:
    """Leave no byte free."""
    file = os.open(disk / _FILLER, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for size_bytes in (65536, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while os.write(file, b"\0" * size_bytes):
                    pass
    finally:
        os.close(file)


class Lines:
    """How many of an audit log's lines can be read, and how many can't."""

    def __init__(self, whole: int, broken: int) -> None:
        self.whole = whole
        self.broken = broken


def read_lines(folder: Path) -> Lines:
    """All lines of all files; one without its end is broken."""
    whole = broken = 0
    for path in sorted(folder.glob("audit-*.jsonl")):
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                json.loads(line)
                is_whole = line.endswith(b"\n")
            except ValueError:
                is_whole = False
            whole, broken = whole + is_whole, broken + (not is_whole)
    return Lines(whole, broken)


class _Counts:
    def __init__(self, written: float, failed: float) -> None:
        self.written = written
        self.failed = failed


async def _counts(stand: Stand) -> _Counts:
    scrape = await stand.service.metrics()
    return _Counts(
        scrape.total(_ENTRIES, result="written"), scrape.total(_ENTRIES, result="failed")
    )


async def _measured(stand: Stand, wire: Wire, seconds: float) -> Tally:
    loop = stand.closed_loop(wire, clients=max(1, stand.config.clients // 4))
    async with loop:
        await asyncio.sleep(seconds)
    return tally(loop.asked)
