"""Each fault's check can fail: a wrong verdict is caught, a lost request counted, a slope seen."""

import asyncio
import dataclasses
import json
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.errors import MeasurementError
from benchmarks.faults.asking import Asked, ask, read_answer, tally
from benchmarks.faults.bad_images import bad_pictures
from benchmarks.faults.disk_full import read_lines
from benchmarks.faults.goals import FaultReport, at_least, at_most, holds, none_of
from benchmarks.faults.load import ClosedLoop
from benchmarks.faults.matrix import FAULTS, chosen, is_missed
from benchmarks.faults.memory import MemorySample, memory_course
from benchmarks.faults.overload import in_time_per_s
from benchmarks.faults.pictures import Drawings, Label, Labelled
from benchmarks.faults.service import Metrics
from benchmarks.faults.tables import faults_markdown, measured
from benchmarks.load.open_loop import open_loop, poisson_arrivals_s
from benchmarks.load.wire import LostError, Reply, Wire
from server.errors import ImageError
from server.ingest.decode import ImageDecoder
from server.ingest.fingerprint import fingerprint
from server.ingest.limits import ImageLimits

PICTURE = Labelled(b"{}", "unsafe")


def reply(status: int, body: Any, **headers: str) -> Reply:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, names, json.dumps(body).encode(), 5.0)


def judged(action: str) -> dict[str, Any]:
    return {
        "results": [{"flagged": True, "sightward": {"action": action, "scores_from": ["model"]}}]
    }


@pytest.mark.parametrize(
    ("action", "label", "is_let_through"),
    [
        ("allow", "unsafe", True),
        ("review", "unsafe", False),
        ("block", "unsafe", False),
        ("allow", "safe", False),
    ],
)
def test_an_unsafe_picture_that_is_allowed_is_caught(
    action: str, label: Label, is_let_through: bool
) -> None:
    asked = read_answer(reply(200, judged(action)), label, 0.0)
    assert asked.is_let_through is is_let_through
    assert tally([asked]).let_through == int(is_let_through)


@pytest.mark.parametrize(
    ("answer", "end", "code"),
    [
        (reply(429, {"error": {"code": "queue_full"}}, retry_after="1"), "refused", "queue_full"),
        (reply(503, {"error": {"code": "engine_restarting"}}, retry_after="1"), "refused", None),
        (reply(503, {"error": {"code": "gone"}}), "failed", "gone"),
        (reply(504, {"error": {"code": "deadline_exceeded"}}), "late", None),
        (reply(500, {}), "failed", "500"),
        (reply(200, {"results": []}), "failed", "unreadable"),
        (reply(200, judged("block")), "answered", None),
    ],
)
def test_only_what_may_be_tried_again_counts_as_refused(
    answer: Reply, end: str, code: str | None
) -> None:
    asked = read_answer(answer, "unsafe", 0.0)
    assert asked.end == end
    assert code is None or asked.code == code
    assert not asked.is_let_through


async def served(answer: bytes, ask_it: Callable[[str], Awaitable[Any]]) -> Any:
    """What `ask_it` gives of a server that sends these bytes and closes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        return await ask_it(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"]
)
async def test_a_connection_that_breaks_off_is_a_lost_request(answer: bytes) -> None:
    async def ask_it(url: str) -> Asked:
        async with Wire(url) as wire:
            return await ask(wire, PICTURE)

    asked = await served(answer, ask_it)
    assert (asked.end, asked.code) == ("lost", "broken_off")
    assert tally([asked]).lost == 1


async def test_an_answer_is_read_whole_with_its_headers() -> None:
    async def ask_it(url: str) -> Reply:
        async with Wire(url) as wire:
            return await wire.request("GET", "/")

    found = await served(
        b"HTTP/1.1 429 Too Many\r\nRetry-After: 3\r\nContent-Length: 2\r\n\r\n{}", ask_it
    )
    assert (found.status, found.body, found.headers["retry-after"]) == (429, b"{}", "3")


async def test_nobody_listening_is_told_from_breaking_off() -> None:
    async with Wire("http://127.0.0.1:1") as wire:
        with pytest.raises(LostError) as lost:
            await wire.request("GET", "/")
        assert not lost.value.is_sent
        assert (await ask(wire, PICTURE)).code == "not_connected"


def course_of(values_mib: list[float]) -> Any:
    return memory_course(
        [MemorySample(30.0 * turn, value - 10.0, 10.0) for turn, value in enumerate(values_mib)]
    )


def test_the_slope_of_memory_is_in_mib_a_minute() -> None:
    course = course_of([100.0, 105.0, 110.0, 115.0])
    assert course.slope_mib_per_min == pytest.approx(10.0)
    assert (course.low_mib, course.high_mib, course.range_mib) == (100.0, 115.0, 15.0)
    assert course_of([100.0, 140.0, 100.0, 140.0, 100.0]).slope_mib_per_min == pytest.approx(0.0)
    assert course_of([100.0]) is None


def test_arrivals_come_at_their_rate_and_bunch_as_strangers_do() -> None:
    arrivals = poisson_arrivals_s(50.0, 100.0, seed=1)
    gaps = np.diff(arrivals)
    assert len(arrivals) == pytest.approx(5000, rel=0.05)
    assert arrivals[0] >= 0.0
    assert arrivals[-1] < 100.0
    assert float(np.std(gaps)) == pytest.approx(float(np.mean(gaps)), rel=0.1)
    assert arrivals == poisson_arrivals_s(50.0, 100.0, seed=1)


async def test_the_open_loop_does_not_wait_for_answers() -> None:
    sent: list[float] = []
    all_sent = asyncio.Event()

    async def ask_it(picture: Labelled, due_s: float) -> Asked:
        sent.append(due_s)
        if len(sent) == 5:
            all_sent.set()
        await all_sent.wait()
        return Asked(due_s, 1.0, "answered", picture.label)

    asked = await open_loop(ask_it, [PICTURE] * 5, [0.0] * 5)
    assert [one.at_s for one in asked] == sent


@pytest.mark.parametrize("leave", [True, False])
async def test_clients_that_are_sent_away_leave_when_they_are_to(
    leave: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = partial(asyncio.sleep, 0)
    pauses: list[float] = []

    async def ask_it(picture: Labelled) -> Asked:
        return Asked(0.0, 1.0, "refused", picture.label)

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await turn()

    monkeypatch.setattr(asyncio, "sleep", pause)
    loop = ClosedLoop(ask_it, lambda: PICTURE, clients=3, leave_when_refused=leave)
    async with loop:
        await turn()
    assert len(loop.asked) == 3
    assert len(pauses) == (0 if leave else 3)


def test_only_answers_within_the_run_are_goodput() -> None:
    one = Asked(10.0, 1000.0, "answered", "safe")
    asked = [
        one,
        dataclasses.replace(one, at_s=13.5),
        dataclasses.replace(one, end="late"),
        dataclasses.replace(one, end="refused"),
    ]
    assert in_time_per_s(asked, 10.0, 4.0) == pytest.approx(0.25)


def test_a_goal_without_a_figure_is_not_held() -> None:
    for make in (at_most, at_least):
        assert not make("goal", None, 1.0).is_held
    assert at_most("goal", 1.0, 1.0).is_held
    assert not at_most("goal", 1.1, 1.0).is_held
    assert at_least("goal", 1.0, 1.0).is_held
    assert not at_least("goal", math.nan, 1.0).is_held
    assert not at_most("goal", math.nan, 1.0).is_held
    assert [none_of("goal", count).is_held for count in (0, 1)] == [True, False]


def test_a_fault_is_held_only_if_every_goal_is() -> None:
    good, bad = holds("good", True), holds("bad", False)
    assert FaultReport("a", "A", (good,)).verdict == "held"
    assert FaultReport("a", "A", (good, bad)).verdict == "missed"
    assert FaultReport("a", "A", ()).verdict == "missed"
    assert FaultReport("a", "A", not_run="no redis").verdict == "not run"


def record_of(*reports: FaultReport) -> dict[str, Any]:
    return {
        "figures": {
            one.fault: dataclasses.asdict(one) | {"verdict": one.verdict} for one in reports
        }
    }


def test_a_missed_goal_decides_how_the_command_ends_and_shows_in_the_table() -> None:
    held = FaultReport("a", "A", (at_most("latency", 2.5, 10.0, "ms"),), engine="stub")
    missed = FaultReport("b", "B", (none_of("lost", 3),), note="see the log")
    skipped = FaultReport("c", "C", not_run="no redis")
    assert not is_missed(record_of(held, skipped))
    assert is_missed(record_of(held, missed))
    text = faults_markdown(record_of(held, missed, skipped))
    assert "| A (stub engine) | latency 2.5 ms (at most 10) | held |" in text
    assert "| B | lost 3 (0) **missed**. See the log | missed |" in text
    assert "| C | no redis | not run |" in text


def test_what_is_not_known_is_shown_as_such() -> None:
    assert measured(dataclasses.asdict(at_most("latency", None, 1.0, "ms"))) == "unknown"
    assert measured(dataclasses.asdict(holds("told", False))) == "no"


def test_half_a_line_is_seen(tmp_path: Path) -> None:
    (tmp_path / "audit-1.jsonl").write_bytes(b'{"id": 1}\n{"id": 2}\n{"id"')
    (tmp_path / "audit-2.jsonl").write_bytes(b'{"id": 3}\nnot json\n{"id": 4}')
    lines = read_lines(tmp_path)
    assert (lines.whole, lines.broken) == (3, 3)


def test_samples_of_a_scrape_are_found_by_name_and_label() -> None:
    scrape = Metrics('# HELP a\na_total{result="failed"} 2.0\na_total{result="ok"} 3.0\nb 1.0\n')
    assert scrape.total("a_total") == 5.0
    assert scrape.total("a_total", result="failed") == 2.0
    assert scrape.total("b") == 1.0
    assert math.isnan(scrape.total("a"))


def test_no_two_drawings_are_the_same_and_both_kinds_come() -> None:
    drawings = Drawings(seed=1)
    made = drawings.stock(40)
    assert len({one.body for one in made}) == 40
    assert [one.label for one in made[:4]] == ["unsafe", "safe", "unsafe", "safe"]
    decoder = ImageDecoder(ImageLimits())
    urls = [json.loads(one.body)["input"][0]["image_url"]["url"] for one in made]
    from server.ingest.data_url import decode_data_url

    seen = {
        fingerprint(decoder.decode(decode_data_url(url, max_bytes=1 << 20)).image) for url in urls
    }
    assert len(seen) == 40


def test_every_bad_picture_is_one() -> None:
    decoder = ImageDecoder(ImageLimits())
    for data in bad_pictures(1):
        with pytest.raises(ImageError):
            decoder.decode(data)


def test_faults_are_chosen_by_name() -> None:
    assert chosen([]) == FAULTS
    assert [fault.name for fault in chosen(["sigterm", "overload"])] == ["overload", "sigterm"]
    with pytest.raises(MeasurementError, match="unknown fault 'sigtem'"):
        chosen(["sigtem"])


async def test_a_latency_counts_from_when_the_request_was_due() -> None:
    class Prompt(Wire):
        async def request(self, *_: object, **__: object) -> Reply:
            return Reply(429, {"retry-after": "1"}, b"{}", 1.0)

    wire = Prompt("http://there")
    asked = await ask(wire, Labelled(b"{}", "safe"), due_s=time.monotonic() - 5.0)

    assert asked.end == "refused"
    assert 5_000.0 <= asked.latency_ms < 65_000.0
