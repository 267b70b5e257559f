"""Faults of a service that really runs, on the engine without a model, from start to record."""

import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.faults import engine_killed, policy_broken
from benchmarks.faults.matrix import chosen, is_missed, run_matrix
from benchmarks.faults.policy_file import write_policy
from benchmarks.faults.service import Service
from benchmarks.faults.stand import FaultsConfig
from benchmarks.records import write_record

CONFIG = FaultsConfig(engine="stub", seconds=2.0, clients=4, kills=1)


def ignore(what: object) -> None:
    del what


def test_faults_are_run_judged_and_recorded(tmp_path: Path) -> None:
    reports: list[Any] = []
    record = run_matrix(
        CONFIG,
        chosen(["engine-killed", "sigterm"]),
        on_start=ignore,
        on_report=reports.append,
    )
    assert [report.fault for report in reports] == ["engine-killed", "sigterm"]
    assert all(report.engine == "stub" for report in reports)
    assert not is_missed(record), record["figures"]
    killed = record["figures"]["engine-killed"]["figures"]
    assert len(killed["kills"]) == 1
    assert killed["requests"]["answered"] > 0
    assert record["figures"]["sigterm"]["figures"]["exit_status"] == 0
    assert write_record(record, tmp_path).is_file()


def test_a_service_that_breaks_connections_misses_its_goals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server is killed where only its engine should be: requests are lost, and it shows."""

    def server_too(service: Service) -> int:
        psutil.Process(service.pid).send_signal(signal.SIGKILL)
        return service.pid

    monkeypatch.setattr(Service, "engine_pid", server_too)
    monkeypatch.setattr(engine_killed, "_GIVE_UP_S", 1.0)
    record = run_matrix(CONFIG, chosen(["engine-killed"]), on_start=ignore, on_report=ignore)
    assert is_missed(record)


def test_a_policy_that_is_not_broken_is_not_taken_for_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_policy(tmp_path / "sound.json", revision="sound")
    monkeypatch.setattr(policy_broken, "_BROKEN", (tmp_path / "sound.json").read_text())
    monkeypatch.setattr(policy_broken, "_SEEN_LIMIT_S", 0.5)
    record = run_matrix(CONFIG, chosen(["policy-broken"]), on_start=ignore, on_report=ignore)
    missed = [
        goal["name"] for goal in record["figures"]["policy-broken"]["goals"] if not goal["is_held"]
    ]
    assert "metric says so after" in missed
