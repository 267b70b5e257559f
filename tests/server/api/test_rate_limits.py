import asyncio
import json
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from pathlib import Path

import httpx2
import pytest
from structlog.testing import capture_logs

from server.api.keys import ANYONE, KeyHolder, hash_of
from server.api.rate_limit_terms import parse_limits
from server.api.rate_limits import RateLimits
from server.errors import RateLimitError
from server.settings import Settings

Connect = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]
BODY = {"input": "a lake"}
REAL_SERVER = shutil.which("redis-server") or shutil.which("valkey-server")


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Closing:
    """For `aclosing`."""

    def __init__(self, limits: RateLimits) -> None:
        self.limits = limits

    async def aclose(self) -> None:
        await self.limits.close()


async def let_in(limits: RateLimits, holder: KeyHolder, calls: int, address: str = "") -> int:
    """How many of so many calls were let in."""
    count = 0
    for _ in range(calls):
        with suppress(RateLimitError):
            await limits.count(holder, address=address)
            count += 1
    return count


async def test_each_key_has_its_share() -> None:
    limits = RateLimits("3/hour")
    assert await let_in(limits, KeyHolder("a"), 5) == 3
    assert await let_in(limits, KeyHolder("b"), 5) == 3
    assert await let_in(limits, KeyHolder("a"), 1) == 0


async def test_a_key_may_have_a_limit_of_its_own() -> None:
    for default in ("3/hour", None):
        limits = RateLimits(default)
        assert await let_in(limits, KeyHolder("a", rate_limit="1/hour"), 5) == 1
        assert await let_in(limits, KeyHolder("b", rate_limit="9/hour"), 20) == 9


async def test_without_a_limit_nothing_is_counted() -> None:
    assert await let_in(RateLimits(None), KeyHolder("a"), 100) == 100


async def test_of_several_limits_all_hold() -> None:
    assert await let_in(RateLimits("5/hour; 2/day"), KeyHolder("a"), 9) == 2


async def test_whoever_has_no_key_is_told_apart_by_address() -> None:
    limits = RateLimits("2/hour")
    assert await let_in(limits, ANYONE, 5, "192.0.2.1") == 2
    assert await let_in(limits, ANYONE, 5, "192.0.2.2") == 2


async def test_the_refusal_says_when_to_come_back() -> None:
    limits = RateLimits("1/minute")
    await limits.count(KeyHolder("a"), address="")
    with pytest.raises(RateLimitError) as refused:
        await limits.count(KeyHolder("a"), address="")
    assert 0.0 <= refused.value.retry_after_s <= 60.0


@pytest.mark.parametrize("terms", ["", "x", "0/minute", "-1/second", "5 per fortnight", "1/0"])
def test_terms_that_are_no_limit_are_refused(terms: str) -> None:
    with pytest.raises(ValueError, match="no rate limit"):
        parse_limits(terms)
    if terms:
        with pytest.raises(ValueError, match="no rate limit"):
            Settings(rate_limit=terms)


async def test_one_call_too_many_is_refused_unread_and_counted(
    connect: Connect, tmp_path: Path
) -> None:
    async def unread() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    keys = tmp_path / "keys.json"
    entries = [
        {"id": "a", "sha256": hash_of("a")},
        {"id": "b", "sha256": hash_of("b"), "rate_limit": "9/hour"},
    ]
    keys.write_text(json.dumps({"keys": entries}))
    async with connect(api_keys_file=keys, rate_limit="2/hour") as client:

        async def call(key: str, **options: object) -> httpx2.Response:
            headers = {"authorization": f"Bearer {key}"}
            return await client.post("/v1/moderations", headers=headers, **options)  # type: ignore[arg-type]

        assert [(await call("a", json=BODY)).status_code for _ in range(2)] == [200, 200]
        refused = await call("a", content=unread())
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert int(refused.headers["retry-after"]) >= 1
        assert int(refused.headers["retry-after-ms"]) >= 1
        assert (await call("b", json=BODY)).status_code == 200
        models = await client.get("/v1/models", headers={"authorization": "Bearer a"})
        assert models.status_code == 200
        lines = (await client.get("/metrics")).text.splitlines()
        assert 'sightward_refusals_total{reason="rate_limit_exceeded"} 1.0' in lines


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


async def test_without_redis_each_process_counts_and_says_so_once() -> None:
    clock = Clock()
    limits = RateLimits("3/hour", redis_url=f"redis://127.0.0.1:{free_port()}/0", clock_s=clock)
    async with aclosing(Closing(limits)):
        with capture_logs() as logs:
            assert await let_in(limits, KeyHolder("a"), 5) == 3
        assert [line["log_level"] for line in logs] == ["warning"]
        clock.now_s += 60.0
        with capture_logs() as logs:
            assert await let_in(limits, KeyHolder("b"), 5) == 3
        assert len(logs) == 1  # tried again, once


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    if REAL_SERVER is None:
        pytest.skip("neither redis-server nor valkey-server is installed")
    port = free_port()
    words = [REAL_SERVER, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen([*words, "--dir", str(tmp_path)], stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(timeout=30)


async def listens(url: str) -> None:
    port = int(url.rpartition(":")[2].partition("/")[0])
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            writer.close()
            return


async def test_replicas_share_what_they_count(redis_url: str) -> None:
    await listens(redis_url)
    one, other = (RateLimits("3/hour", redis_url=redis_url) for _ in range(2))
    async with aclosing(Closing(one)), aclosing(Closing(other)):
        with capture_logs() as logs:
            assert await let_in(one, KeyHolder("a"), 2) == 2
            assert await let_in(other, KeyHolder("a"), 5) == 1
            assert await let_in(one, KeyHolder("a"), 5) == 0
        assert logs == []
