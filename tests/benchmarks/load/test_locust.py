"""The crowd's shapes, and the locust file itself: headless for two seconds against a service."""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.load.shapes import SHAPES, Crowd, ramp, soak, spike, steady

LOCUSTFILE = Path(__file__).parents[3] / "benchmarks/load/locustfile.py"


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_ends_and_never_has_more_users_than_asked_for(name: str) -> None:
    shape = SHAPES[name]
    crowds = [shape(at_s, 20, 100.0) for at_s in range(100)]

    assert all(crowd is not None and 1 <= crowd.users <= 20 for crowd in crowds)
    assert all(crowd is not None and crowd.per_s > 0 for crowd in crowds)
    assert shape(100.0, 20, 100.0) is None
    assert shape(0.0, 1, 100.0) is not None


def users(crowd: Crowd | None) -> int:
    assert crowd is not None
    return crowd.users


def test_what_sets_the_shapes_apart() -> None:
    assert [users(steady(at_s, 20, 100.0)) for at_s in (0, 50, 99)] == [20, 20, 20]
    assert [users(ramp(at_s, 20, 100.0)) for at_s in (0, 10, 55, 99)] == [2, 4, 12, 20]
    assert [users(spike(at_s, 20, 100.0)) for at_s in (0, 39, 40, 59, 60)] == [2, 2, 20, 20, 2]
    assert [users(soak(at_s, 20, 100.0)) for at_s in (0, 99)] == [12, 12]
    gentle, sudden = soak(0, 20, 100.0), steady(0, 20, 100.0)
    assert gentle is not None
    assert sudden is not None
    assert gentle.per_s < sudden.per_s / 4


class Handler(http.server.BaseHTTPRequestHandler):
    """Refuses every other request; keeps what it was sent."""

    protocol_version = "HTTP/1.1"
    bodies: list[bytes] = []  # noqa: RUF012 - emptied by the fixture

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        is_refused = len(self.bodies) % 2 == 0
        body = json.dumps({"error": {"code": "overloaded"}} if is_refused else {}).encode()
        self.send_response(429 if is_refused else 200)
        self.send_header("content-length", str(len(body)))
        self.send_header("retry-after-ms", "10")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[str]:
    Handler.bodies.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_locust_runs_headless_on_fresh_pictures(service: str, tmp_path: Path) -> None:
    # In a process of its own: importing locust patches the standard library.
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", service]
    command += ["--headless", "--shape", "spike", "--most-users", "4", "--shape-s", "2"]
    # What is under way at the end is waited for, however busy the machine is.
    command += ["--stop-timeout", "60", "--json", "--exit-code-on-error", "0"]
    command += ["--loglevel", "WARNING"]
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "COLUMNS": "200"}
    )

    assert run.returncode == 0, run.stderr
    (stats,) = json.loads(run.stdout)
    assert stats["name"] == "/v1/moderations"
    assert stats["num_requests"] == len(Handler.bodies) >= 1
    assert stats["num_failures"] == len(Handler.bodies) // 2
    assert len(set(Handler.bodies)) == len(Handler.bodies)
    first = json.loads(Handler.bodies[0])
    assert first["input"][0]["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert first["sightward"] == {"detail": True}
