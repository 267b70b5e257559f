"""Hundreds of malformed requests to a server of its own: each a documented 4xx, memory bounded."""

import importlib.util
import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest

from server.api.errors import ERROR_RULES

CORPUS = Path(__file__).with_name("malformed_corpus.py")
MIB = 1024 * 1024
MAX_GROWTH_BYTES = 400 * MIB
"""Peak over the idle server: about eight times the largest body it reads (48 MiB)."""

DOCUMENTED_CODES = {rule.code for rule in ERROR_RULES.values() if rule.status < 500}
FRAMEWORK_CODES = {"not_found", "method_not_allowed"}


@pytest.fixture
def corpus(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The corpus beside this file; tests are no packages, so it can't be imported by name."""
    spec = importlib.util.spec_from_file_location("malformed_corpus", CORPUS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def complaint(name: str, response: httpx2.Response) -> str | None:
    """What is wrong with an answer; None if it is a documented 4xx."""
    if not 400 <= response.status_code < 500:
        return f"{name}: {response.status_code} {response.text[:200]}"
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return f"{name}: not the documented shape: {response.text[:200]}"
    if set(error) != {"message", "type", "param", "code"}:
        return f"{name}: fields {sorted(error)}"
    if error["code"] not in DOCUMENTED_CODES | FRAMEWORK_CODES:
        return f"{name}: undocumented code {error['code']}"
    if error["type"] != "invalid_request_error" or not error["message"]:
        return f"{name}: {error}"
    return None


def test_every_malformed_request_is_a_documented_4xx_and_memory_is_bounded(
    stub_server: Any, corpus: ModuleType
) -> None:
    complaints: list[str] = []
    names: set[str] = set()
    with httpx2.Client(base_url=stub_server.url, timeout=60) as client:
        good = {"input": "a lake"}
        assert client.post("/v1/moderations", json=good).status_code == 200
        idle_bytes = stub_server.peak_bytes()
        for case in corpus.corpus():
            names.add(case.name)
            headers = {"content-type": case.content_type}
            response = client.request(case.method, case.path, content=case.content, headers=headers)
            found = complaint(case.name, response)
            if found is not None:
                complaints.append(found)
        assert client.post("/v1/moderations", json=good).status_code == 200
    growth_bytes = stub_server.peak_bytes() - idle_bytes
    # Shown by --log-cli-level=info.
    logging.getLogger(__name__).info(
        "%d requests, memory grew by %d MiB at most", len(names), growth_bytes // MIB
    )
    assert not complaints, "\n".join(complaints)
    assert len(names) >= 300
    assert growth_bytes < MAX_GROWTH_BYTES, f"{growth_bytes / MIB:.0f} MiB"
