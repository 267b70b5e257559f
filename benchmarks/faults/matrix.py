"""All faults, what kind of service each needs, and one run over as many as are asked for.

A service is started for several faults at once, since a real engine takes most of a minute; the
one that ends it comes last.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from benchmarks.errors import MeasurementError
from benchmarks.faults import (
    bad_images,
    clients_leaving,
    clock_jumps,
    disk_full,
    engine_killed,
    overload,
    policy_broken,
    redis_gone,
    sigterm,
    slow_clients,
)
from benchmarks.faults.goals import FaultReport, holds
from benchmarks.faults.pictures import Drawings
from benchmarks.faults.policy_file import write_policy
from benchmarks.faults.redis_server import RedisServer, redis_program
from benchmarks.faults.service import Service
from benchmarks.faults.stand import FaultsConfig, Stand, scratch_folder
from benchmarks.processes.http import free_port
from benchmarks.records import DataOrigin, build_record
from server.api.keys import hash_of

Kind = Literal["plain", "furnished", "clock"]
"""`plain` has no cache; `furnished` has Redis, a policy file and an audit log on a small disk;
`clock` is on the stub engine, with keys and a clock of its own."""

_KINDS: tuple[Kind, ...] = ("plain", "furnished", "clock")


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the matrix."""

    name: str
    title: str
    kind: Kind
    run: Callable[[Stand], Awaitable[FaultReport]]


FAULTS: tuple[Fault, ...] = (
    Fault(overload.NAME, overload.TITLE, "plain", overload.run),
    Fault(slow_clients.NAME, slow_clients.TITLE, "plain", slow_clients.run),
    Fault(clients_leaving.NAME, clients_leaving.TITLE, "plain", clients_leaving.run),
    Fault(bad_images.NAME, bad_images.TITLE, "plain", bad_images.run),
    Fault(engine_killed.NAME, engine_killed.TITLE, "plain", engine_killed.run),
    Fault(sigterm.NAME, sigterm.TITLE, "plain", sigterm.run),
    Fault(redis_gone.NAME, redis_gone.TITLE, "furnished", redis_gone.run),
    Fault(disk_full.NAME, disk_full.TITLE, "furnished", disk_full.run),
    Fault(policy_broken.NAME, policy_broken.TITLE, "furnished", policy_broken.run),
    Fault(clock_jumps.NAME, clock_jumps.TITLE, "clock", clock_jumps.run),
)


def chosen(only: Sequence[str]) -> tuple[Fault, ...]:
    """The faults of these names, all without any; raises `MeasurementError` for an unknown one."""
    known = {fault.name: fault for fault in FAULTS}
    unknown = [name for name in only if name not in known]
    if unknown:
        raise MeasurementError(f"unknown fault {unknown[0]!r}; known: {', '.join(known)}")
    return tuple(fault for fault in FAULTS if not only or fault.name in only)


def run_matrix(
    config: FaultsConfig,
    faults: Sequence[Fault],
    *,
    on_start: Callable[[str], None],
    on_report: Callable[[FaultReport], None],
) -> dict[str, Any]:
    """Run the faults and give the record.

    `on_start` is told what begins, `on_report` what came of it. Raises `ProcessError` when a
    service does not start.
    """
    reports: list[FaultReport] = []
    version = "unknown"
    with scratch_folder() as scratch_name:
        for kind in _KINDS:
            mine = [fault for fault in faults if fault.kind == kind]
            if not mine:
                continue
            if kind == "clock" and (reason := clock_jumps.cannot_run()) is not None:
                found = [FaultReport(one.name, one.title, not_run=reason) for one in mine]
                reports += found
                for report in found:
                    on_report(report)
                continue
            on_start(f"a service ({kind})")
            scratch = Path(scratch_name) / kind
            scratch.mkdir()
            with _stand(kind, config, scratch) as stand:
                stand.service.wait_until_ready()
                if kind != "clock" or version == "unknown":
                    version = asyncio.run(_version(stand))
                for fault in mine:
                    on_start(fault.title)
                    report = asyncio.run(_run_one(fault, stand))
                    reports.append(report)
                    on_report(report)
    return build_record(
        "faults",
        config=asdict(config) | {"faults": [fault.name for fault in faults]},
        data=DataOrigin("drawings", "", "none", 2),
        model_version=version,
        figures={report.fault: asdict(report) | {"verdict": report.verdict} for report in reports},
        measurements=[],
    )


def is_missed(record: dict[str, Any]) -> bool:
    """Whether any goal was."""
    return any(found["verdict"] == "missed" for found in record["figures"].values())


async def _run_one(fault: Fault, stand: Stand) -> FaultReport:
    """The fault's report. One that could not be measured is missed, and the others go on."""
    began_s = time.monotonic()
    try:
        if not stand.service.is_running:
            raise MeasurementError("the service is not running any more")
        if fault.name != sigterm.NAME:
            await _settled(stand)
        report = await fault.run(stand)
    except Exception as error:
        report = FaultReport(
            fault.name,
            fault.title,
            goals=(holds("could be measured", False),),
            note=f"{type(error).__name__}: {error}"[:500],
        )
    engine = "stub" if fault.kind == "clock" else stand.config.engine
    return replace(report, seconds=round(time.monotonic() - began_s, 1), engine=engine)


async def _settled(stand: Stand) -> None:
    """Wait until the fault before this one is over: the service is ready, and nothing runs."""
    for _ in range(600):
        if await stand.service.is_ready():
            scrape = await stand.service.metrics()
            if scrape.total("sightward_calls_running") == 0:
                return
        await asyncio.sleep(0.1)
    raise MeasurementError("the service did not become ready again")


async def _version(stand: Stand) -> str:
    if stand.faketime is None:
        return await stand.service.model_version()
    return "stub"


@contextlib.contextmanager
def _stand(kind: Kind, config: FaultsConfig, scratch: Path) -> Iterator[Stand]:
    """A started service of that kind; not ready yet."""
    environ = {"SIGHTWARD_LOG_LEVEL": "info", "SIGHTWARD_LOG_FORMAT": "json"}
    drawings = Drawings(seed=config.seed)
    with contextlib.ExitStack() as stack:
        redis, policy, audit, faketime = None, None, None, None
        if kind == "plain":
            environ |= {
                "SIGHTWARD_CACHE": "off",
                "SIGHTWARD_BODY_TIMEOUT_S": f"{slow_clients.BODY_TIMEOUT_S:g}",
                "SIGHTWARD_DRAIN_NOTICE_S": f"{sigterm.NOTICE_S:g}",
                "SIGHTWARD_ENGINE_MAX_FAILURES": str(config.kills + 2),
            }
        if kind == "furnished":
            if (program := redis_program()) is not None:
                redis = stack.enter_context(RedisServer(program, free_port(), scratch))
                environ |= {"SIGHTWARD_CACHE": "redis", "SIGHTWARD_REDIS_URL": redis.url}
            audit = stack.enter_context(disk_full.small_disk(scratch / "audit"))
            if audit is not None:
                environ["SIGHTWARD_AUDIT_LOG"] = str(audit)
        if kind == "clock":
            faketime, audit = scratch / "faketime", scratch / "audit"
            environ |= _clock_environ(faketime, audit, scratch / "keys.json")
        if kind != "plain":
            policy = scratch / "policy.json"
            write_policy(policy)
            environ |= {
                "SIGHTWARD_POLICY": str(policy),
                "SIGHTWARD_POLICY_POLL_S": f"{policy_broken.POLL_S:g}",
            }
        service = stack.enter_context(
            Service(
                scratch / "server.log",
                engine="stub" if kind == "clock" else config.engine,
                environ=environ,
            )
        )
        yield Stand(config, service, drawings, scratch, redis, policy, audit, faketime)


def _clock_environ(faketime: Path, audit: Path, keys: Path) -> dict[str, str]:
    clock_jumps.set_clock(faketime, 0)
    entries = [
        {"id": "faults", "sha256": hash_of(clock_jumps.KEY)},
        {
            "id": "limited",
            "sha256": hash_of(clock_jumps.LIMITED_KEY),
            "rate_limit": f"{clock_jumps.LIMIT}/{clock_jumps.LIMIT_WINDOW_S} second",
        },
    ]
    keys.write_text(json.dumps({"keys": entries}), encoding="utf-8")
    return {
        "SIGHTWARD_CACHE": "memory",
        "SIGHTWARD_AUDIT_LOG": str(audit),
        "SIGHTWARD_AUDIT_RETENTION_DAYS": str(clock_jumps.RETENTION_DAYS),
        "SIGHTWARD_API_KEYS_FILE": str(keys),
        "LD_PRELOAD": clock_jumps.library() or "",
        "FAKETIME_TIMESTAMP_FILE": str(faketime),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DISABLE_SHM": "1",
    }
