import asyncio
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from server.cache.redis_store import RedisStore
from server.errors import CacheUnavailableError

REAL_SERVER = shutil.which("redis-server") or shutil.which("valkey-server")


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Closing:
    """A store as `aclosing` wants it."""

    def __init__(self, store: RedisStore) -> None:
        self.store = store

    async def aclose(self) -> None:
        await self.store.close()


def store_at(port: int, **options: Any) -> RedisStore:
    return RedisStore(f"redis://127.0.0.1:{port}/0", ttl_s=60, **{"timeout_s": 5.0} | options)


@pytest.fixture
def real_port(tmp_path: Path) -> Iterator[int]:
    if REAL_SERVER is None:
        pytest.skip("neither redis-server nor valkey-server is installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        [REAL_SERVER, "--port", str(port), "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert any("eady to accept connections" in line for line in process.stdout)
        yield port
    finally:
        process.terminate()
        process.communicate()


async def shared(port: int) -> None:
    async with aclosing(Closing(store_at(port))) as one, aclosing(Closing(store_at(port))) as two:
        assert await two.store.get("a") is None
        await one.store.put("a", b"scores \x00\xff")
        assert await two.store.get("a") == b"scores \x00\xff"


async def test_replicas_share_what_was_put(redis_server: Any) -> None:
    await shared(redis_server.port)


async def test_replicas_share_what_was_put_to_a_real_server(real_port: int) -> None:
    await shared(real_port)


async def test_a_payload_is_kept_for_its_time_under_a_name_of_ours(redis_server: Any) -> None:
    async with aclosing(Closing(store_at(redis_server.port))) as one:
        await one.store.put("a", b"scores")
    assert redis_server.lifetimes_ms == {b"sightward:scores:a": 60_000}


async def test_a_server_that_is_gone_is_left_alone_for_a_moment_and_then_used_again(
    redis_server: Any,
) -> None:
    clock = Clock()
    async with aclosing(Closing(store_at(redis_server.port, clock=clock, pause_s=1.0))) as one:
        await one.store.put("a", b"scores")
        await redis_server.stop()
        with pytest.raises(CacheUnavailableError):
            await one.store.get("a")
        await redis_server.start()
        asked_before = len(redis_server.commands)
        with pytest.raises(CacheUnavailableError, match="a moment ago"):
            await one.store.get("a")
        assert len(redis_server.commands) == asked_before
        clock.now_s += 1.0
        assert await one.store.get("a") == b"scores"


async def test_a_server_that_hangs_is_not_waited_for(redis_server: Any) -> None:
    async with aclosing(Closing(store_at(redis_server.port, timeout_s=0.01))) as one:
        redis_server.answers.clear()
        async with asyncio.timeout(60):
            with pytest.raises(CacheUnavailableError) as raised:
                await one.store.get("a")
    assert str(redis_server.port) not in str(raised.value)


@pytest.mark.parametrize("url", ["http://host", "host:6379", ""])
def test_what_is_no_address_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        RedisStore(url, ttl_s=60)
