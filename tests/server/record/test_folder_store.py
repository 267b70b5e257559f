import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from server.errors import AuditLogError
from server.record import folder_store
from server.record.entries import VerdictEntry
from server.record.folder_store import FolderStore
from server.record.query import VerdictQuery

Verdicts = Callable[..., VerdictEntry]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("audit-*.jsonl"))


def test_a_file_is_begun_anew_when_it_is_full_and_is_its_owners_alone(
    tmp_path: Path, verdict: Verdicts
) -> None:
    store = FolderStore(tmp_path, max_file_bytes=4096)
    entries = [verdict(n) for n in range(20)]
    for entry in entries:
        store.append([entry])
    store.close()

    assert len(files(tmp_path)) > 1
    assert all(path.stat().st_size <= 4096 for path in files(tmp_path))
    assert all(path.stat().st_mode & 0o077 == 0 for path in files(tmp_path))
    assert list(store.verdicts(VerdictQuery())) == entries


def test_two_writers_share_a_folder(tmp_path: Path, verdict: Verdicts) -> None:
    first, second = (FolderStore(tmp_path, max_file_bytes=10_000) for _ in range(2))
    first.append([verdict(1)])
    second.append([verdict(2)])

    assert len(list(first.verdicts(VerdictQuery()))) == 2
    first.close()
    second.close()


def test_a_full_disk_leaves_no_half_line(
    tmp_path: Path, verdict: Verdicts, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(tmp_path, max_file_bytes=1_000_000)
    store.append([verdict(1)])
    (path,) = files(tmp_path)
    before = path.read_bytes()
    real_write, room_bytes = os.write, 100

    def write(file: int, data: bytes) -> int:
        nonlocal room_bytes
        if room_bytes == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real_write(file, bytes(data)[:room_bytes])
        room_bytes -= written
        return written

    monkeypatch.setattr(folder_store.os, "write", write)
    with pytest.raises(AuditLogError, match="No space left"):
        store.append([verdict(2)])
    assert path.read_bytes() == before
    monkeypatch.undo()

    store.append([verdict(3)])
    assert [found.time_unix_ms for found in store.verdicts(VerdictQuery())] == [1_001, 1_003]
    store.close()


def test_what_a_dying_process_left_half_is_passed_over(tmp_path: Path, verdict: Verdicts) -> None:
    store = FolderStore(tmp_path, max_file_bytes=1_000_000)
    store.append([verdict(1)])
    (path,) = files(tmp_path)
    with path.open("ab") as file:
        file.write(b'{"kind": "verd')

    assert [found.time_unix_ms for found in store.verdicts(VerdictQuery())] == [1_001]
    store.close()


def test_a_file_that_was_moved_away_is_replaced(tmp_path: Path, verdict: Verdicts) -> None:
    store = FolderStore(tmp_path, max_file_bytes=1_000_000)
    store.append([verdict(1)])
    files(tmp_path)[0].rename(tmp_path / "archived")

    store.append([verdict(2)])
    assert [found.time_unix_ms for found in store.verdicts(VerdictQuery())] == [1_002]
    store.close()


def test_old_files_are_forgotten_and_the_one_in_use_is_not(
    tmp_path: Path, verdict: Verdicts
) -> None:
    store = FolderStore(tmp_path, max_file_bytes=1_000_000)
    store.append([verdict(1)])
    store.close()
    (old,) = files(tmp_path)
    os.utime(old, (1, 1))
    store.append([verdict(2)])

    assert store.prune(10_000) == 1
    assert [found.time_unix_ms for found in store.verdicts(VerdictQuery())] == [1_002]
    assert store.prune(2**60) == 0
    store.close()


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(AuditLogError):
        FolderStore(tmp_path / "file", max_file_bytes=4096)
