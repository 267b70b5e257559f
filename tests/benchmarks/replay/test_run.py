"""The whole replay against the real app in process, and against another endpoint of its shape."""

import base64
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from rich.console import Console

from alignment.data.manifest import ImageSet
from benchmarks.endpoint import EndpointError
from benchmarks.errors import MeasurementError
from benchmarks.load.wire import LostError
from benchmarks.records import write_record
from benchmarks.replay.compare import compare_replays, comparison_table
from benchmarks.replay.config import ReplayConfig
from benchmarks.replay.gates import FIGURE_NAMES, gate_values
from benchmarks.replay.page import write_replay_report
from benchmarks.replay.record import is_replay, read_replay
from benchmarks.replay.run import run_replay
from benchmarks.replay.tables import remarks, replay_tables
from benchmarks.tables import show

QUIET = Console(quiet=True)


def config(**changes: Any) -> ReplayConfig:
    usual = ReplayConfig("http://sightward.test", clients=2, resamples=20, warm_up=1)
    return dataclasses.replace(usual, **changes)


async def record_of(image_set: ImageSet, sender: Any, **changes: Any) -> dict[str, Any]:
    return await run_replay(config(**changes), image_set, sender, console=QUIET)


def pixels(body: bytes) -> bytes:
    url = json.loads(body)["input"][0]["image_url"]["url"]
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB").tobytes()


async def test_judgement_and_speed_come_from_the_same_requests(
    image_set: ImageSet, service: Any
) -> None:
    record = await record_of(image_set, service, passes=2)
    accuracy, latency = record["figures"]["accuracy"], record["figures"]["latency"]

    assert latency["requests"] == accuracy["answers"] == 10
    assert accuracy["recall"]["value"] == pytest.approx(2 / 3)
    assert accuracy["specificity"]["value"] == 1.0
    assert accuracy["by_concept"]["Gun violence"]["recognised"] == pytest.approx(2 / 3)
    assert latency["by_end"]["ok"]["count"] == 10
    assert record["config"]["loop"] == "closed loop, 2 clients"
    assert record["model_version"].startswith("stub@111111111111")
    assert [one["pass_number"] for one in record["measurements"]].count(1) == 5


async def test_no_two_requests_have_the_same_pixels(image_set: ImageSet, service: Any) -> None:
    record = await record_of(image_set, service, passes=3)

    assert len({pixels(body) for body in service.bodies}) == 16  # with the one to warm up
    assert record["config"]["pixels"] == "fresh in every request"
    assert record["figures"]["latency"]["from_cache"] == 0


async def test_a_second_run_has_pixels_of_its_own(image_set: ImageSet, service: Any) -> None:
    # The endpoint runs on, and its engine remembers what the first one sent.
    await record_of(image_set, service)
    first = len(service.bodies)
    await record_of(image_set, service)

    assert not set(service.bodies[:first]) & set(service.bodies[first:])


async def test_files_go_as_they_are_where_a_cache_may_answer(
    image_set: ImageSet, service: Any
) -> None:
    record = await record_of(image_set, service, passes=2, allow_cache=True)

    assert len({pixels(body) for body in service.bodies}) == 2  # red and green
    assert record["config"]["pixels"] == "files as they are"


@pytest.mark.parametrize("how", ["rate", "recorded"])
async def test_an_open_loop_sends_when_it_is_due(
    image_set: ImageSet, service: Any, tmp_path: Path, how: str
) -> None:
    times = tmp_path / "times"
    times.write_text("5.0\n5.01\n5.03\n5.06\n5.1\n5.15\n5.2\n")
    changes = {"rate_per_s": 400.0} if how == "rate" else {"arrivals": str(times)}
    record = await record_of(image_set, service, **changes)

    due_s = [one["due_s"] for one in record["measurements"]]
    assert record["config"]["loop"].startswith("open loop")
    if how == "recorded":
        assert due_s == pytest.approx([0.0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2], abs=1e-6)
        assert record["config"]["arrivals"] == "times"
    assert all(one["latency_ms"] >= one["service_ms"] - 1e-6 for one in record["measurements"])


async def test_words_give_what_served_gives(image_set: ImageSet, service: Any) -> None:
    record = await record_of(image_set, service, words="concept")
    words = record["figures"]["words"]

    assert words["texts"]["alignment"]["value"] == 1.0
    assert words["alignment_gap"]["value"] == pytest.approx(1 / 3)


async def test_record_page_tables_and_gates_fit_together(
    image_set: ImageSet, service: Any, tmp_path: Path
) -> None:
    record = await record_of(image_set, service, passes=2, words="concept")
    path = write_record(record, tmp_path / "out")
    files = write_replay_report(path, tmp_path / "page")
    page = files.page.read_text()

    assert is_replay(path)
    assert str(tmp_path) not in path.read_text()
    assert read_replay(path).figures == json.loads(json.dumps(record["figures"]))
    assert {plot.name for plot in files.plots} >= {
        "roc.png",
        "precision-recall.png",
        "reliability.png",
        "latency-by-end.png",
        "latency-over-time.png",
    }
    assert "Latency by how requests ended" in page
    assert "http://" not in page.replace("http://sightward.test", "").replace(
        "http://www.w3.org/", ""
    )
    assert set(gate_values(record)) == set(FIGURE_NAMES)
    screen = io.StringIO()
    show(replay_tables(record), Console(file=screen, width=160))
    assert "balanced accuracy" in screen.getvalue()


async def test_equal_runs_are_not_told_apart_and_a_worse_one_is(
    image_set: ImageSet, service: Any, tmp_path: Path
) -> None:
    made = await record_of(image_set, service, passes=4)
    a = read_replay(write_record(made, tmp_path))
    rows = [dataclasses.replace(one, latency_ms=one.latency_ms + 5000) for one in a.measurements]
    slower = a.model_copy(update={"measurements": rows})
    same = compare_replays(a, a, seed=1, resamples=50)
    worse = {one.name: one for one in compare_replays(a, slower, seed=1, resamples=50).figures}

    assert same.pictures == 5
    assert {one.verdict for one in same.figures if not one.name.endswith(("_ms", "_per_s"))} == {
        "no difference shown"
    }
    assert worse["p95_ms"].verdict == "A is better"
    assert worse["p95_ms"].difference.value == pytest.approx(5000)
    assert worse["recall"].difference.value == 0.0
    assert comparison_table(same).row_count == len(same.figures)


async def test_records_of_different_data_are_not_compared(
    image_set: ImageSet, service: Any, tmp_path: Path
) -> None:
    a = read_replay(write_record(await record_of(image_set, service), tmp_path))
    b = a.model_copy(update={"data": dataclasses.replace(a.data, sha256="0" * 64)})

    with pytest.raises(MeasurementError, match="different data"):
        compare_replays(a, b, seed=1, resamples=5)


class _Other:
    """An endpoint of OpenAI's shape, without our detail: red is violent."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/models":
            return httpx2.Response(200, json={"data": [{"id": "omni"}]})
        if request.method == "GET":
            return httpx2.Response(404)
        body = json.loads(request.content)
        self.bodies.append(body)
        red, green, _ = Image.frombytes("RGB", (32, 24), pixels(request.content)).getpixel((0, 0))
        scores = {"violence": 0.7 if red > green else 0.2, "hate": 0.1}
        return httpx2.Response(
            200,
            json={
                "model": "omni-1",
                "results": [{"flagged": red > green, "category_scores": scores, "categories": {}}],
            },
        )


async def test_another_endpoint_is_measured_by_its_scores_and_the_record_says_so(
    image_set: ImageSet, in_process: Any
) -> None:
    other = _Other()
    sender = in_process(httpx2.MockTransport(other))
    record = await record_of(image_set, sender, model="omni")

    assert record["config"]["contract"] == "openai"
    assert record["model_version"] == "omni-1"
    assert record["figures"]["accuracy"]["recall"]["value"] == pytest.approx(2 / 3)
    assert record["figures"]["accuracy"]["by_category"]["Violence"]["own_auc"]["value"] is not None
    assert "no `sightward` detail" in remarks(record)
    assert all(body["model"] == "omni" and "sightward" not in body for body in other.bodies)


async def test_an_answer_that_says_nothing_readable_is_an_error(
    image_set: ImageSet, in_process: Any
) -> None:
    other = _Other()

    def seldom_readable(request: httpx2.Request) -> httpx2.Response:
        whole = other(request)
        is_flagged = b'"flagged":true' in whole.content.replace(b" ", b"")
        return whole if is_flagged else httpx2.Response(200, json={"results": []})

    record = await record_of(image_set, in_process(httpx2.MockTransport(seldom_readable)))

    assert record["figures"]["latency"]["by_end"]["error"]["count"] == 3
    assert record["figures"]["latency"]["codes"] == {"unreadable": 3}
    assert record["figures"]["accuracy"]["auc"]["value"] is None


async def test_where_nothing_is_answered_there_are_no_figures(
    image_set: ImageSet, in_process: Any
) -> None:
    sender = in_process(httpx2.MockTransport(lambda _: httpx2.Response(200, json={"results": []})))
    with pytest.raises(MeasurementError, match=r"no request was answered: 5 error \(unreadable\)"):
        await record_of(image_set, sender)


async def test_a_service_that_is_starting_is_not_taken_for_another(
    image_set: ImageSet, in_process: Any
) -> None:
    sender = in_process(httpx2.MockTransport(lambda _: httpx2.Response(503, json={"error": {}})))
    with pytest.raises(EndpointError, match="not ready"):
        await record_of(image_set, sender)


async def test_nobody_there_is_said(image_set: ImageSet) -> None:
    class Nobody:
        async def request(self, *_: Any) -> Any:
            raise LostError("not connected", is_sent=False)

    with pytest.raises(EndpointError, match="not connected"):
        await record_of(image_set, Nobody())


async def test_a_model_that_changes_has_no_figures(image_set: ImageSet, service: Any) -> None:
    class Replaced:
        asked = 0

        async def request(self, method: str, path: str, *rest: Any) -> Any:
            reply = await service.request(method, path, *rest)
            if path == "/v1/models":
                self.asked += 1
                changed = reply.body.replace(b"stub@1", f"stub@{self.asked}".encode())
                return dataclasses.replace(reply, body=changed)
            return reply

    with pytest.raises(MeasurementError, match="changed its model"):
        await record_of(image_set, Replaced())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"passes": 0}, "--passes"),
        ({"rate_per_s": -1.0}, "--rate"),
        ({"rate_per_s": 1.0, "arrivals": "x"}, "at random or recorded"),
        ({"split": "train"}, "has no examples"),
    ],
)
async def test_what_can_not_be_run_is_refused(
    image_set: ImageSet, service: Any, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(MeasurementError, match=reason):
        await record_of(image_set, service, **changes)
