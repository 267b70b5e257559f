import json
import os
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from server.concepts.policy import POLICY_FILE
from server.concepts.policy_watch import LivePolicies, PolicyChange
from server.errors import DataFileError

A, B = "a" * 64, "b" * 64


def write(path: Path, **changes: Any) -> None:
    shipped = json.loads(POLICY_FILE.read_text(encoding="utf-8"))
    _replace(path, json.dumps(shipped | changes))


def _replace(path: Path, text: str) -> None:
    """As editors and mounted configurations do: another file takes its place."""
    draft = path.with_suffix(".new")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _move(path: Path, other: Path) -> None:
    path.rename(other)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    write(path)
    return path


async def test_a_change_is_in_force_at_the_next_look(path: Path) -> None:
    policies, changes = LivePolicies(path), list[PolicyChange]()
    policies.listen(changes.append)
    before = policies.of("default").version

    assert not await policies.refresh()
    write(path, undetermined="block")
    assert await policies.refresh()

    assert policies.of("default").policy.undetermined == "block"
    assert policies.of("default").version != before
    assert [change.is_broken for change in changes] == [False]


async def test_a_broken_file_leaves_the_last_good_one_and_says_so_once(path: Path) -> None:
    policies, changes = LivePolicies(path), list[PolicyChange]()
    policies.listen(changes.append)
    before = policies.book

    with capture_logs() as lines:
        _replace(path, '{\n"revision": 2\n}')
        for _ in range(3):
            assert not await policies.refresh()
    assert policies.book is before
    assert [change.is_broken for change in changes] == [True]
    (line,) = lines
    assert line["log_level"] == "error"
    assert any("(line 2)" in problem for problem in line["problems"])

    write(path, undetermined="block")
    assert await policies.refresh()
    assert [change.is_broken for change in changes] == [True, False]


async def test_the_old_file_put_back_ends_the_alarm(path: Path) -> None:
    policies, changes = LivePolicies(path), list[PolicyChange]()
    policies.listen(changes.append)
    away = path.with_name("away")

    _move(path, away)
    await policies.refresh()
    _move(away, path)
    assert not await policies.refresh()

    assert [change.is_broken for change in changes] == [True, False]


async def test_a_list_beside_the_policy_is_watched_too(path: Path) -> None:
    listed = path.with_name("block.txt")
    _replace(listed, A)
    write(path, lists={"block_files": ["block.txt"]})
    policies = LivePolicies(path)

    _replace(listed, B)
    os.utime(listed, (5, 5))
    assert await policies.refresh()

    assert policies.of("default").listed(A) is None
    assert policies.of("default").listed(B) is not None


async def test_the_shipped_policy_is_not_watched() -> None:
    policies = LivePolicies()

    await policies.watch(every_s=3600.0)
    assert not await policies.refresh()


def test_a_file_that_is_broken_from_the_start_is_refused(path: Path) -> None:
    _replace(path, "{")

    with pytest.raises(DataFileError):
        LivePolicies(path)
