"""The machine's clock jumps a day ahead, a day back and five years ahead while clients send.

The service runs under libfaketime, which reads its time from a file; the clock that only goes
forward (monotonic) is left alone, as a real jump leaves it. It runs on the stub engine: what is
tried is what goes by the wall clock, rate limits, cached scores, keys, the audit log and what is
kept of it, and none of that is the engine's. So this row says so.
"""

import asyncio
import os
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.faults.asking import Tally, ask, tally
from benchmarks.faults.disk_full import read_lines
from benchmarks.faults.goals import FaultReport, at_least, holds, none_of
from benchmarks.faults.policy_file import replace_file
from benchmarks.faults.stand import Stand
from benchmarks.load.wire import Wire

NAME, TITLE = "clock-jumps", "clock jumps: +1 day, -1 day, +5 years"

DAY_S = 24 * 3600
JUMPS_S = (DAY_S, -DAY_S, 5 * 365 * DAY_S)
KEY, LIMITED_KEY = "faults-key-0123456789abcdef", "limited-key-0123456789abcdef"
LIMIT = 5
LIMIT_WINDOW_S = 1
RETENTION_DAYS = 30

_LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
)


def library() -> str | None:
    """libfaketime, from the Debian package `faketime`."""
    return next((path for path in _LIBRARIES if os.path.exists(path)), None)


def cannot_run() -> str | None:
    """Why not; None: it can."""
    return None if library() else "libfaketime (Debian's package faketime) is not installed"


def set_clock(file: Path, jump_s: int) -> None:
    """Move the service's clock so far from this machine's."""
    replace_file(file, f"{jump_s:+d}s\n")


@dataclass(frozen=True, slots=True)
class _Jump:
    jump_s: int
    counted: Tally
    is_clock_moved: bool
    cached: bool
    is_wrong_key_refused: bool
    limited_ok: bool


async def run(stand: Stand) -> FaultReport:
    """Jump, and look at everything that goes by the wall clock."""
    file = stand.need_faketime()
    seconds = max(1.5, stand.share_s(0.05))
    async with Wire(stand.service.url) as wire:
        jumps = [await _jump(stand, wire, file, jump_s, seconds) for jump_s in (0, *JUMPS_S)]
        scrape = await stand.service.metrics()
    audit = stand.need_audit()
    lines = read_lines(audit)
    ids = _ids(audit)
    written = scrape.total("sightward_audit_entries_total", result="written")
    failed = sum(
        one.counted.failed + one.counted.lost + one.counted.late + one.counted.refused
        for one in jumps
    )
    return FaultReport(
        NAME,
        TITLE,
        engine="stub",
        goals=(
            holds("the service's clock did jump", all(one.is_clock_moved for one in jumps)),
            none_of("requests failed, refused or lost", failed),
            none_of("unsafe pictures let through", sum(one.counted.let_through for one in jumps)),
            holds("cached scores are used within their time", all(one.cached for one in jumps)),
            holds("a wrong key stays out", all(one.is_wrong_key_refused for one in jumps)),
            holds("rate limits let in and refuse as before", all(one.limited_ok for one in jumps)),
            holds("audit ids are never the same", len(ids) == len(set(ids))),
            none_of("half lines in the audit log", lines.broken),
            holds("nothing was forgotten too early", lines.whole == written),
            at_least("audit entries", lines.whole, 1),
        ),
        figures={
            "jumps": [asdict(one) for one in jumps],
            "audit_entries": lines.whole,
        },
        note="on the stub engine: only the endpoint goes by the wall clock; retention "
        f"{RETENTION_DAYS} days",
    )


async def _jump(stand: Stand, wire: Wire, file: Path, jump_s: int, seconds: float) -> _Jump:
    headers = {"authorization": f"Bearer {KEY}"}
    known = stand.drawings.next()
    await ask(wire, known, headers=headers)
    log_began = stand.service.log_bytes()
    loop = stand.closed_loop(wire, clients=4, headers=headers)
    async with loop:
        await asyncio.sleep(seconds / 2)
        set_clock(file, jump_s)
        await asyncio.sleep(seconds)
        cached = (await ask(wire, known, headers=headers)).source == "cache"
        wrong = await ask(wire, known, headers={"authorization": "Bearer not-a-key"})
        limited_ok = await _is_limited_as_before(stand, wire)
    stamps = [
        datetime.fromisoformat(event["timestamp"]).timestamp()
        for event in stand.service.log_events(since_bytes=log_began)
        if "timestamp" in event
    ]
    return _Jump(
        jump_s,
        tally(loop.asked),
        is_clock_moved=bool(stamps) and abs(stamps[-1] - time.time() - jump_s) < 60,
        cached=cached,
        is_wrong_key_refused=wrong.status == 401,
        limited_ok=limited_ok,
    )


async def _is_limited_as_before(stand: Stand, wire: Wire) -> bool:
    """Whether a key of few calls is let in, is refused when it calls more, and is let in again."""
    headers = {"authorization": f"Bearer {LIMITED_KEY}"}
    # The window before this one counts too; after two of them everything is forgotten.
    await asyncio.sleep(2 * LIMIT_WINDOW_S)
    first = await ask(wire, stand.drawings.next(), headers=headers)
    # At once: one after the other they would take their time behind the load, and be few enough.
    rest = await asyncio.gather(
        *(ask(wire, stand.drawings.next(), headers=headers) for _ in range(3 * LIMIT))
    )
    refused = [one for one in rest if one.status == 429]
    await asyncio.sleep(2 * LIMIT_WINDOW_S)
    again = await ask(wire, stand.drawings.next(), headers=headers)
    return first.end == "answered" and bool(refused) and again.end == "answered"


def _ids(audit: Path) -> list[str]:
    import json

    return [
        json.loads(line)["id"]
        for path in sorted(audit.glob("audit-*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
