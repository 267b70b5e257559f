"""Entries of an audit log, and both places they may lie in."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.record.entries import ComparisonEntry, DecisionEntry, RolloutEntry, VerdictEntry
from server.record.folder_store import FolderStore
from server.record.sql_store import SqlStore
from server.record.store import AuditStore


def make_verdict(number: int = 0, **fields: Any) -> VerdictEntry:
    content: dict[str, Any] = {
        "id": f"{1_000 + number:012x}00",
        "time_unix_ms": 1_000 + number,
        "request_id": "req-1",
        "answer_id": "modr-1",
        "route": "moderations",
        "tenant": "default",
        "key_id": "anyone",
        "input": "file[0]",
        "caller_id": None,
        "modality": "image",
        "fingerprint": "ab" * 32,
        "outcome": "safe",
        "action": "review",
        "answer_action": "review",
        "p_unsafe": 0.4,
        "raw_p_unsafe": 0.5,
        "categories": {"Hate": 0.4},
        "concepts": {"Swastika": 0.4},
        "own_concepts": {"logo": None},
        "risk_level": None,
        "risk_type": None,
        "listed": None,
        "error": None,
        "judged_by": ("model",),
        "source": "model",
        "model_version": "m@1",
        "policy_version": "2-abc",
        "engine_ms": 1.5,
    }
    return VerdictEntry.model_validate(content | fields)


def make_decision(verdict_id: str, number: int = 0, **fields: Any) -> DecisionEntry:
    content: dict[str, Any] = {
        "id": f"{9_000 + number:012x}00",
        "time_unix_ms": 9_000 + number,
        "verdict_id": verdict_id,
        "tenant": "default",
        "key_id": "admin",
        "label": "Unsafe",
        "category": "Hate",
        "concept": "",
        "note": "",
    }
    return DecisionEntry.model_validate(content | fields)


def make_comparison(number: int = 0, *, action: str = "allow", **fields: Any) -> ComparisonEntry:
    said = {"model_version": "m@1", "outcome": "safe", "action": "allow", "p_unsafe": 0.25}
    content: dict[str, Any] = {
        "id": f"{1_000 + number:012x}01",
        "time_unix_ms": 1_000 + number,
        "verdict_id": f"{1_000 + number:012x}00",
        "request_id": "req-1",
        "route": "moderations",
        "tenant": "default",
        "key_id": "anyone",
        "input": "file[0]",
        "caller_id": None,
        "modality": "image",
        "fingerprint": "ab" * 32,
        "role": "shadow",
        "answered_by": "default",
        "default": said,
        "other": said | {"model_version": "m@2", "action": action, "p_unsafe": 0.75},
        "policy_version": "2-abc",
    }
    return ComparisonEntry.model_validate(content | fields)


def make_change(number: int = 0, **fields: Any) -> RolloutEntry:
    content: dict[str, Any] = {
        "id": f"{1_000 + number:012x}02",
        "time_unix_ms": 1_000 + number,
        "change": "promote",
        "name": "sft",
        "model": "reference:sft",
        "model_version": "m@2",
        "default": "sft",
        "previous": "ppo",
        "canary": None,
        "canary_percent": None,
        "shadow": None,
        "shadow_percent": None,
        "key_id": "admin",
    }
    return RolloutEntry.model_validate(content | fields)


@pytest.fixture
def comparison() -> Callable[..., ComparisonEntry]:
    """``comparison(3, action="block")``: the third one, on which the other model would block."""
    return make_comparison


@pytest.fixture
def change() -> Callable[..., RolloutEntry]:
    """``change(3, change="load")``: the third change to who is what."""
    return make_change


@pytest.fixture
def verdict() -> Callable[..., VerdictEntry]:
    """``verdict(3, action="block")``: the third verdict, blocked."""
    return make_verdict


@pytest.fixture
def decision() -> Callable[..., DecisionEntry]:
    """``decision(verdict_id, label="Safe")``."""
    return make_decision


@pytest.fixture(params=["folder", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AuditStore]:
    """Each place in turn."""
    made: AuditStore
    if request.param == "folder":
        made = FolderStore(tmp_path / "log", max_file_bytes=1_000_000)
    else:
        made = SqlStore(f"sqlite:///{tmp_path / 'log.db'}")
    yield made
    made.close()
