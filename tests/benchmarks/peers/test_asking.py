"""What HTTP peers are sent, against a server made for it."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.errors import MeasurementError
from benchmarks.peers.asking import (
    VERDICT_TOKENS,
    moderation,
    one_token,
    question_a_category,
    written_verdict,
)
from benchmarks.peers.contender import Turn
from benchmarks.peers.hosts import flags
from benchmarks.peers.http_asking import ask_over_http
from server.concepts.taxonomy import load_taxonomy


class Answering:
    """Answers 200 to paths it knows, from a thread of its own, and keeps the bodies."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Answering":
        self._thread.start()
        self._is_up.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._is_up.set()
        async with server:
            await self._end.wait()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                path = head.split(" ")[1]
                length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
                self.bodies.append((path, await reader.readexactly(length)))
                status = "429 Busy" if path.endswith("moderations") else "200 OK"
                writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}".encode())
        except (EOFError, OSError):
            writer.close()


@pytest.fixture
def answering() -> Iterator[Answering]:
    with Answering() as found:
        yield found


def turn(tmp_path: Path, count: int = 3, at_once: int = 2) -> Turn:
    return Turn([f"picture {number}".encode() for number in range(count)], tmp_path, at_once)


def test_every_picture_is_asked_about_once(answering: Answering, tmp_path: Path) -> None:
    ran = ask_over_http(answering.url, one_token, turn(tmp_path))

    assert len(ran.latencies_ms) == 3
    assert len({body for _, body in answering.bodies}) == len(answering.bodies) == 3
    assert ran.seconds > 0
    assert ran.client_cpu_s >= 0


def test_a_picture_is_done_when_all_its_questions_are_answered(
    answering: Answering, tmp_path: Path
) -> None:
    ran = ask_over_http(answering.url, question_a_category, turn(tmp_path))

    assert len(ran.latencies_ms) == 3
    assert len(answering.bodies) == 3 * len(load_taxonomy().category_names)


def test_a_refusal_is_no_measurement(answering: Answering, tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="429"):
        ask_over_http(answering.url, moderation, turn(tmp_path))


def test_the_written_verdict_is_as_long_as_it_says() -> None:
    ((_, body),) = written_verdict(b"picture")
    options = json.loads(body)

    assert options["max_tokens"] == options["min_tokens"] == VERDICT_TOKENS
    assert options["ignore_eos"] is True


def test_vllms_options_come_from_our_arguments() -> None:
    arguments = {
        "model": "m",
        "enforce_eager": True,
        "use_tqdm_on_load": False,
        "revision": None,
        "limit_mm_per_prompt": {"image": 1},
    }

    assert flags(arguments) == [
        "--model=m",
        "--enforce-eager",
        "--no-use-tqdm-on-load",
        '--limit-mm-per-prompt={"image": 1}',
    ]
