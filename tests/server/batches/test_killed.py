"""``kill -9`` in the middle of a batch: the next process goes on, every line is answered once."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

WORKER = Path(__file__).with_name("batch_worker.py")
LINES = 240
PAUSE_S = 0.05


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[subprocess.Popen[str], httpx2.Client]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"BATCHES_DIR": str(folder), "CACHE": "off", "BATCHES_LINES_AT_ONCE": "4"}
    # A file: a pipe that nobody reads is full after a few hundred calls, and holds the server up.
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(WORKER), "serve", "--port", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **{f"SIGHTWARD_{name}": value for name, value in settings.items()}},
        )
    try:
        while "engine ready" not in (folder / "log").read_text():
            assert process.poll() is None, "the server ended"
            time.sleep(PAUSE_S)
        transport = httpx2.HTTPTransport(retries=8)
        url = f"http://127.0.0.1:{port}/v1/moderations/"
        with httpx2.Client(base_url=url, transport=transport, timeout=60) as client:
            yield process, client
    finally:
        process.kill()
        process.wait()


def results(client: httpx2.Client, batch_id: str) -> list[dict[str, Any]]:
    text = client.get(f"batches/{batch_id}/results").text
    assert text == "" or text.endswith("\n"), "half a line was shown"
    return [json.loads(line) for line in text.splitlines()]


def test_killed_twice_a_batch_has_every_line_answered_once(tmp_path: Path) -> None:
    requests = [{"custom_id": f"t{n}", "input": f"text {n}"} for n in range(LINES)]
    body = "\n".join(map(json.dumps, requests)).encode()
    seen: list[dict[str, Any]] = []
    with served(tmp_path) as (process, client):
        response = client.post(
            "batches", content=body, headers={"content-type": "application/x-ndjson"}
        )
        assert response.status_code == 200, response.text
        batch_id = response.json()["id"]
        while len(seen) < LINES // 4:
            seen = results(client, batch_id)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with served(tmp_path) as (process, client):
        while len(later := results(client, batch_id)) < LINES // 2:
            assert later[: len(seen)] == seen, "what was shown before is gone"
        process.send_signal(signal.SIGKILL)
        process.wait()
    # As a crash in the middle of a write would leave it.
    (file,) = tmp_path.rglob("results.jsonl")
    with file.open("ab") as half:
        half.write(b'{"custom_id":"t239","line":240,"resp')
    with served(tmp_path) as (_, client):
        while (batch := client.get(f"batches/{batch_id}").json())["status"] == "in_progress":
            assert batch["request_counts"]["total"] == LINES
            time.sleep(PAUSE_S)
        answers = results(client, batch_id)
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}
    assert answers[: len(later)] == later
    assert Counter(one["custom_id"] for one in answers) == Counter(f"t{n}" for n in range(LINES))
    assert all(one["response"] is not None and one["error"] is None for one in answers)
    assert list(tmp_path.rglob("input")) == []
