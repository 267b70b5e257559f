"""What lies on the disk: whole batches or none, lines found again, pages cut right."""

import errno
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from server.batches import index, results_file
from server.batches.draft import Draft, Room
from server.batches.folder import BatchFolder
from server.batches.index import read_index, write_index
from server.batches.results_file import ResultsFile, read_blocks
from server.batches.service import open_batches
from server.batches.store import BatchStore
from server.errors import BatchLinesError, BatchStorageError, SettingsError, UnknownBatchError
from server.settings import Settings

MakeBatch = Callable[..., BatchFolder]


def test_every_line_is_found_again_wherever_blocks_end(
    store: BatchStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_BLOCK_BYTES", 7)
    texts = [b'{"custom_id":"a","input":"x"}', b"   ", b"", b"[1]\r", b'{"input":"last"}']
    draft = store.draft("default", Room(10**6))
    draft.begin(custom_id="first.png", max_lines=9)
    draft.write(b"\x89PNG\n\n", max_lines=9)
    draft.end(max_lines=9)
    draft.begin(custom_id=None, max_lines=9)
    body = b"\n".join(texts)
    for at in range(0, len(body), 5):
        draft.write(body[at : at + 5], max_lines=9)
    draft.end(max_lines=9)
    folder = BatchFolder(draft._folder)
    for file in (draft._input, draft._spans):
        assert file is not None
        file.flush()

    indexed = write_index(folder, max_line_bytes=1000)
    entries = read_index(folder)
    raw = folder.input.read_bytes()
    draft.discard()

    assert draft.lines == indexed.total == len(entries) == 4
    assert [entry.custom_id for entry in entries] == ["first.png", "a", "line-3", "line-4"]
    found = [raw[entry.offset : entry.offset + entry.bytes] for entry in entries]
    assert found == [b"\x89PNG\n\n", texts[0], texts[3], texts[4]]


def test_a_full_disk_while_a_batch_arrives_is_said_and_leaves_nothing(store: BatchStore) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    draft = store.draft("default", Room(10**6))
    draft.begin(custom_id=None, max_lines=1)
    assert draft._input is not None
    draft._input.close()
    draft._input = Full()
    with pytest.raises(BatchStorageError, match="No space left"):
        draft.write(b"{}", max_lines=1)
    draft.discard()
    assert store.used_bytes() == 0
    assert list(store.all()) == []


def test_all_drafts_share_the_room(store: BatchStore) -> None:
    room = Room(100)
    drafts = [store.draft("default", room) for _ in range(2)]
    for draft in drafts:
        draft.begin(custom_id=None, max_lines=1)
    drafts[0].write(b"x" * 60, max_lines=1)
    with pytest.raises(BatchStorageError):
        drafts[1].write(b"x" * 60, max_lines=1)
    for draft in drafts:
        draft.discard()


def test_lines_are_counted_while_they_arrive(store: BatchStore) -> None:
    draft = store.draft("default", Room(10**6))
    draft.begin(custom_id=None, max_lines=2)
    draft.write(b"{}\n{}\n\n", max_lines=2)
    with pytest.raises(BatchLinesError):
        draft.write(b"{}\n", max_lines=2)
    draft.discard()


def test_what_a_dead_process_left_is_swept_and_what_arrives_is_not(
    store: BatchStore, tmp_path: Path
) -> None:
    arriving = store.draft("default", Room(10**6))
    left = tmp_path / "batches" / "drafts" / "batch_left"
    left.mkdir()
    (left / "input").write_bytes(b"{}")
    store.sweep()
    assert not left.exists()
    assert arriving._folder.exists()
    arriving.discard()


def test_a_batch_in_hand_is_not_deleted(store: BatchStore, make_batch: MakeBatch) -> None:
    folder = make_batch({"input": "x"})
    lock = folder.lock()
    with lock:
        assert not store.delete(folder)
    assert store.delete(folder)
    with pytest.raises(UnknownBatchError):
        store.find("default", folder.id)


@pytest.mark.parametrize("tenant", ["..", ".", "a.b"])
def test_no_tenant_is_called_out_of_the_folder(
    store: BatchStore, make_batch: MakeBatch, tmp_path: Path, tenant: str
) -> None:
    folder = make_batch({"input": "x"}, tenant=tenant)
    assert folder.path.resolve().is_relative_to(tmp_path / "batches")
    assert store.find(tenant, folder.id) == folder
    assert [path.name for path in tmp_path.iterdir()] == ["batches"]


@pytest.mark.parametrize("batch_id", ["", "..", "batch_", "batch_/../x", "batch_" + "g" * 24])
def test_what_is_no_id_is_no_batch(store: BatchStore, batch_id: str) -> None:
    with pytest.raises(UnknownBatchError):
        store.find("default", batch_id)


def test_a_folder_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = Settings(batches_dir=tmp_path / "file" / "batches")
    with pytest.raises(SettingsError, match="SIGHTWARD_BATCHES_DIR"):
        open_batches(settings, CollectorRegistry())


@given(
    sizes=st.lists(st.integers(0, 30), max_size=12),
    after=st.integers(0, 14),
    limit=st.none() | st.integers(1, 14),
    block_bytes=st.integers(1, 40),
)
def test_pages_are_cut_at_lines_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    after: int,
    limit: int | None,
    block_bytes: int,
) -> None:
    path = tmp_path_factory.getbasetemp() / "pages.jsonl"
    lines = [f"{number}{'x' * size}\n".encode() for number, size in enumerate(sizes)]
    path.write_bytes(b"".join(lines) + b"half a li")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results_file, "_BLOCK_BYTES", block_bytes)
        size_bytes = sum(map(len, lines))
        found = b"".join(read_blocks(path, size_bytes=size_bytes, after=after, limit=limit))
    wanted = lines[after:] if limit is None else lines[after : after + limit]
    assert found == b"".join(wanted)


@pytest.mark.parametrize(
    "tail", [b"", b'{"line": 3, "err', b"\0\0\0\n", b'{"line": 3, "error": 0}']
)
def test_taking_results_up_keeps_whole_lines_alone(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "results.jsonl"
    whole = b'{"line": 2, "error": null}\n{"line": 1, "error": {}}\n'
    path.write_bytes(whole + tail)
    results = ResultsFile(path)
    taken = results.take_up()
    assert (taken.lines, taken.completed, taken.failed) == ({1, 2}, 1, 1)
    results.append([b'{"line": 3, "error": null}\n'])
    results.close()
    assert path.read_bytes() == whole + b'{"line": 3, "error": null}\n'


def test_a_draft_that_cannot_be_begun_says_so(tmp_path: Path) -> None:
    (tmp_path / "draft").write_text("in the way")
    with pytest.raises(BatchStorageError):
        Draft(tmp_path / "draft", tmp_path / "target", Room(1))
