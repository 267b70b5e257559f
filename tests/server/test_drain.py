"""SIGTERM in a real process: nothing that runs is lost, nothing new is taken, the end is clean."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

WORKER = Path(__file__).with_name("drained_worker.py")


class Served:
    """A server process; `said` waits for a line of its output."""

    def __init__(self, **settings: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        environ = {f"SIGHTWARD_{name.upper()}": value for name, value in settings.items()}
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), "serve", "--port", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "SIGHTWARD_LOG_FORMAT": "json", **environ},
            text=True,
        )

    def said(self, words: str) -> None:
        assert self.process.stdout is not None
        assert any(words in line for line in self.process.stdout), f"{words!r} was never said"

    def release(self) -> None:
        """Let a question that is held be answered."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        """Read what is left, so that the process never waits for us; its exit status."""
        self.rest, _ = self.process.communicate(timeout=60)
        return self.process.returncode


@contextlib.contextmanager
def served(**settings: str) -> Iterator[tuple[Served, httpx2.Client]]:
    server = Served(**settings)
    transport = httpx2.HTTPTransport(retries=8)  # backs off between attempts to connect
    try:
        server.said('"event": "engine ready"')
        with httpx2.Client(base_url=server.url, transport=transport, timeout=60) as client:
            assert client.get("/readyz").status_code == 200
            yield server, client
    finally:
        server.process.kill()
        server.process.communicate()


def ask(client: httpx2.Client, text: str) -> httpx2.Response:
    return client.post("/v1/moderations", json={"input": text})


def wait_until_draining(client: httpx2.Client) -> httpx2.Response:
    while (response := client.get("/readyz")).status_code == 200:
        pass
    return response


def test_what_runs_is_finished_what_is_new_is_refused_and_the_end_is_clean() -> None:
    with served() as (server, client), ThreadPoolExecutor() as threads:
        running = threads.submit(ask, client, "slow")
        server.said("asked")
        server.terminate()
        not_ready = wait_until_draining(client)
        refused = ask(client, "new")
        alive = client.get("/livez")
        server.release()
        finished = running.result()
        assert server.ended() == 0
    assert finished.status_code == 200, finished.text
    for response in (not_ready, refused):
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "server_draining"
        assert int(response.headers["retry-after"]) >= 1
        assert response.headers["connection"] == "close"
    assert alive.status_code == 200
    assert "Traceback" not in server.rest


@pytest.mark.parametrize("second_signal", [True, False], ids=["second signal", "grace is over"])
def test_what_takes_too_long_is_cut_off_with_an_answer(second_signal: bool) -> None:
    grace_s = "600" if second_signal else "0"
    with served(drain_grace_s=grace_s) as (server, client), ThreadPoolExecutor() as threads:
        running = threads.submit(ask, client, "slow")
        server.said("asked")
        server.terminate()
        if second_signal:
            wait_until_draining(client)
            server.terminate()
        cut_off = running.result()
        # The stub's thread waits for its line, and Python for the thread.
        server.release()
        assert server.ended() == 0
    assert cut_off.status_code == 503
    assert cut_off.json()["error"]["code"] == "server_draining"


def test_under_load_every_call_that_was_taken_is_answered() -> None:
    statuses: list[int] = []
    is_over = threading.Event()

    def keep_asking(url: str) -> None:
        with httpx2.Client(base_url=url, timeout=60) as client:
            number = 0
            while not is_over.is_set():
                number += 1
                try:
                    response = ask(client, f"text {threading.get_ident()} {number}")
                except httpx2.TransportError:
                    return  # nobody is there any more; whether it was taken is checked below
                statuses.append(response.status_code)

    with served(drain_notice_s="0.3") as (server, _), ThreadPoolExecutor(4) as threads:
        server.release()
        asking = [threads.submit(keep_asking, server.url) for _ in range(4)]
        while len(statuses) < 20:
            assert not any(one.done() for one in asking)
        server.terminate()
        code = server.ended()
        is_over.set()
        for one in asking:
            one.result()
    assert code == 0
    assert set(statuses) == {200, 503}
    judged = [line for line in server.rest.splitlines() if '"status": 200' in line]
    assert statuses.count(200) == sum('"route": "/v1/moderations"' in line for line in judged)
