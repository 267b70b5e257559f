"""The policy file is broken while the service runs: the old policy stays in force and the log and a
metric say so, until a mended file is taken.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict

from benchmarks.faults.asking import tally
from benchmarks.faults.goals import FaultReport, at_least, at_most, holds, none_of
from benchmarks.faults.policy_file import replace_file, write_policy
from benchmarks.faults.service import Metrics
from benchmarks.faults.stand import Stand
from benchmarks.load.wire import Wire

NAME, TITLE = "policy-broken", "policy file broken while running"

POLL_S = 0.5
"""How often the service is told to look at the file."""
_SEEN_LIMIT_S = 3.0
_BROKEN = '{"rules": {"Violence": {"block_at": "very much"'


async def run(stand: Stand) -> FaultReport:
    """Break the file under load, then mend it with another revision."""
    path = stand.need_policy()
    log_began = stand.service.log_bytes()
    async with Wire(stand.service.url) as wire:
        loop = stand.closed_loop(wire, clients=max(1, stand.config.clients // 4))
        async with loop:
            await asyncio.sleep(stand.share_s(0.04))
            before = len(loop.asked)
            replace_file(path, _BROKEN)
            seen_s = await _until(stand, _is_broken)
            await asyncio.sleep(stand.share_s(0.04))
            meanwhile = len(loop.asked)
            write_policy(path, revision="faults_2")
            mended_s = await _until(stand, lambda scrape: not _is_broken(scrape))
            mended = len(loop.asked)
            await asyncio.sleep(stand.share_s(0.04))
        counted = tally(loop.asked)
    old = {one.policy for one in loop.asked[:before] if one.policy}
    held = {one.policy for one in loop.asked[before:meanwhile] if one.policy}
    new = {one.policy for one in loop.asked[mended + stand.config.clients :] if one.policy}
    said = [
        event["event"]
        for event in stand.service.log_events(since_bytes=log_began)
        if event.get("level") == "error"
    ]
    write_policy(path)
    return FaultReport(
        NAME,
        TITLE,
        goals=(
            none_of("requests failed or lost", counted.failed + counted.lost + counted.late),
            none_of("unsafe pictures let through", counted.let_through),
            at_most("metric says so after", seen_s, _SEEN_LIMIT_S, "s"),
            at_least("log says so", len(said), 1),
            holds("the old policy stays in force", bool(held) and held == old),
            at_most("mended file taken after", mended_s, _SEEN_LIMIT_S, "s"),
            holds("the new policy is in force", bool(new) and not new & old),
        ),
        figures={
            "requests": asdict(counted),
            "policies": {"before": sorted(old), "broken": sorted(held), "mended": sorted(new)},
            "log": said,
        },
    )


def _is_broken(scrape: Metrics) -> bool:
    return scrape.total("sightward_policy_file_broken") == 1.0


async def _until(stand: Stand, is_so: Callable[[Metrics], bool]) -> float | None:
    """How long until the metrics say so; None: they don't."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while loop.time() - began_s < 2 * _SEEN_LIMIT_S:
        if is_so(await stand.service.metrics()):
            return loop.time() - began_s
        await asyncio.sleep(0.1)
    return None
