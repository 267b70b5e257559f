"""A batch as it lies on the disk, made without a server."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.batches.draft import Room
from server.batches.facts import BatchFacts
from server.batches.folder import BatchFolder
from server.batches.store import BatchStore

MakeBatch = Callable[..., BatchFolder]


@pytest.fixture
def store(tmp_path: Path) -> BatchStore:
    """An empty folder of batches."""
    return BatchStore(tmp_path / "batches")


@pytest.fixture
def make_batch(store: BatchStore) -> MakeBatch:
    """``make_batch({"input": "x"}, tenant="shop")``: a batch of such lines."""

    def make(*lines: Any, tenant: str = "default", expires_unix_s: int = 2**40) -> BatchFolder:
        draft = store.draft(tenant, Room(10**6))
        draft.begin(custom_id=None, max_lines=1000)
        for line in lines:
            draft.write(json.dumps(line).encode() + b"\n", max_lines=1000)
        draft.end(max_lines=1000)
        facts = BatchFacts(
            id=draft.id,
            tenant=tenant,
            key_id="anyone",
            created_unix_s=1,
            expires_unix_s=expires_unix_s,
        )
        folder = draft.keep(facts)
        draft.discard()
        return folder

    return make
