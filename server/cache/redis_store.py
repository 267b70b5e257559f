"""A store that replicas share: Redis, or Valkey, which speaks the same protocol.

It is never waited for longer than a fraction of what judging costs. Once it could not be reached it
is left alone for a moment, so that a store that is gone costs one time-out a moment, not one a
request.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from server.errors import CacheUnavailableError

if TYPE_CHECKING:
    from redis.asyncio import Redis

_KEY_PREFIX = "sightward:scores:"
_MAX_CONNECTIONS = 64


class RedisStore:
    """A `ScoreStore` at `url` (redis, rediss or unix), each payload for `ttl_s` seconds.

    An operation takes at most `timeout_s`; after a failure `pause_s` go by before the next is
    tried. Raises `ImportError` without the client library and `ValueError` for no such URL.
    """

    def __init__(
        self,
        url: str,
        *,
        ttl_s: float,
        timeout_s: float = 0.1,
        pause_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = _connect(url, timeout_s)
        self._ttl_ms = max(1, int(ttl_s * 1000))
        self._pause_s = pause_s
        self._clock = clock
        self._paused_until_s: float | None = None

    async def get(self, key: str) -> bytes | None:
        """The payload; raises `CacheUnavailableError`."""
        payload: bytes | None = await self._ask(lambda redis: redis.get(_KEY_PREFIX + key))
        return payload

    async def put(self, key: str, payload: bytes) -> None:
        """Keep the payload; raises `CacheUnavailableError`."""
        await self._ask(lambda redis: redis.set(_KEY_PREFIX + key, payload, px=self._ttl_ms))

    async def close(self) -> None:
        """Close every connection."""
        await self._redis.aclose(close_connection_pool=True)

    async def _ask(self, operation: "Callable[[Redis], Any]") -> Any:
        from redis.exceptions import RedisError

        if self._paused_until_s is not None and self._clock() < self._paused_until_s:
            raise CacheUnavailableError("it could not be reached a moment ago")
        try:
            answer = await operation(self._redis)
        except (RedisError, OSError, TimeoutError) as error:
            self._paused_until_s = self._clock() + self._pause_s
            # The client's own words may hold the address, and with it a password.
            raise CacheUnavailableError(type(error).__name__) from error
        self._paused_until_s = None
        return answer


def _connect(url: str, timeout_s: float) -> "Redis":
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=_MAX_CONNECTIONS,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        # Trying again is what the pause is for.
        retry=Retry(NoBackoff(), 0),
    )
    return Redis(connection_pool=pool)
