"""The cache's benchmark, on an engine without a model."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.cache import CacheConfig, _ask, _Contender, run_cache
from benchmarks.endpoint import EndpointError
from benchmarks.faults.pictures import Labelled
from benchmarks.load.wire import Reply
from benchmarks.tables import cache_tables

SERVICE = _Contender("memory", "http://there", judges=True)
PICTURE = Labelled(b"{}", "safe")


def answering(status: int, body: bytes) -> Any:
    async def request(*_: object) -> Reply:
        return Reply(status, {}, body, 1.5)

    return SimpleNamespace(request=request)


@pytest.mark.parametrize(
    ("status", "body"),
    [(429, b"{}"), (200, b'{"scores_from":["model"]}'), (200, b"{}")],
)
def test_an_answer_that_is_not_from_the_cache_ends_the_run(status: int, body: bytes) -> None:
    with pytest.raises(EndpointError):
        asyncio.run(_ask(answering(status, body), PICTURE, SERVICE, is_known=True))


def test_a_known_picture_counts() -> None:
    answer = answering(200, b'{"scores_from":["cache"]}')
    assert asyncio.run(_ask(answer, PICTURE, SERVICE, is_known=True)) == 1.5


@pytest.mark.timeout(180)
def test_the_whole_run() -> None:
    config = CacheConfig(engine="stub", clients=2, rounds=1, repeats=20, fresh=4)
    rounds = []

    record = run_cache(config, on_round=lambda: rounds.append(1))

    assert len(rounds) == 2
    figures = record["figures"]
    assert {"memory known", "memory fresh", "nothing known"} <= set(figures)
    known, fresh = (figures[f"memory {name}"]["requests_per_s"] for name in ("known", "fresh"))
    assert known["median"] > fresh["median"]  # a picture takes the stub 40 ms, or none
    (table,) = cache_tables(record)
    assert table.row_count == len(figures)
