"""How many calls each key may make in a while: counted here, or in a Redis that replicas share.

A sliding window of two counters a key, so that nobody gets twice its share around a full minute.
Windows follow the clock of the machine, which replicas agree on; where it is set back, they last
that much longer.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from server.api.keys import KeyHolder
from server.api.rate_limit_terms import parse_limits
from server.errors import RateLimitError

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.strategies import SlidingWindowCounterRateLimiter
    from redis.asyncio import ConnectionPool

_REDIS_TIMEOUT_S = 0.25
_REDIS_PAUSE_S = 5.0
"""How long Redis is left alone after it failed; meanwhile each replica counts for itself."""
_PREFIX = "sightward:limits"

_log = structlog.get_logger("server")


class RateLimits:
    """Counts calls by key id, or by address where there are no keys. `close` it when done.

    `default` holds for keys without a limit of their own; None: those have none. `redis_url` is
    None where each process counts for itself. Raises `ValueError` for an unreadable `default`.
    `clock_s` is monotonic.
    """

    def __init__(
        self,
        default: str | None,
        *,
        redis_url: str | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._default = default
        self._clock_s = clock_s
        self._items: dict[str, tuple[RateLimitItem, ...]] = {}
        self._own: SlidingWindowCounterRateLimiter | None = None
        self._shared: SlidingWindowCounterRateLimiter | None = None
        self._shared_from_s = 0.0
        self._redis_url = redis_url
        self._pool: ConnectionPool | None = None
        if default is not None:
            parse_limits(default)

    async def count(self, holder: KeyHolder, *, address: str) -> None:
        """Count one call; raises `RateLimitError` when it is one too many.

        Of several limits each is counted until one refuses.
        """
        terms = self._default if holder.rate_limit is None else holder.rate_limit
        if terms is None:
            return
        if terms not in self._items:
            self._items[terms] = parse_limits(terms)
        for item in self._items[terms]:
            wait_s = await self._wait_s(item, (holder.id, address))
            if wait_s is not None:
                raise RateLimitError(limit=str(item), retry_after_s=wait_s)

    async def _wait_s(self, item: "RateLimitItem", who: tuple[str, str]) -> float | None:
        """How long until the next call; None: this one is let in."""
        if self._redis_url is not None and self._clock_s() >= self._shared_from_s:
            try:
                limiter = self._shared_limiter()
                async with asyncio.timeout(_REDIS_TIMEOUT_S):
                    return await _hit(limiter, item, who)
            except Exception as error:
                # Whatever it is, a counter that can't be reached must not end the service.
                self._shared_from_s = self._clock_s() + _REDIS_PAUSE_S
                _log.warning("rate limits are counted here alone", error=type(error).__name__)
        return await _hit(self._own_limiter(), item, who)

    def _own_limiter(self) -> "SlidingWindowCounterRateLimiter":
        if self._own is None:
            from limits.aio.storage import MemoryStorage
            from limits.aio.strategies import SlidingWindowCounterRateLimiter

            self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        return self._own

    def _shared_limiter(self) -> "SlidingWindowCounterRateLimiter":
        if self._shared is None:
            from limits.aio.storage import RedisStorage
            from limits.aio.strategies import SlidingWindowCounterRateLimiter
            from redis.asyncio import ConnectionPool
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff

            url = self._redis_url or ""
            self._pool = ConnectionPool.from_url(url, retry=Retry(NoBackoff(), retries=0))
            storage = RedisStorage(
                f"async+{url}",
                implementation="redispy",
                key_prefix=_PREFIX,
                connection_pool=self._pool,  # type: ignore[arg-type] # handed on to redis
            )
            self._shared = SlidingWindowCounterRateLimiter(storage)
        return self._shared

    async def close(self) -> None:
        """End the connections to Redis."""
        if self._pool is not None:
            await self._pool.disconnect()


async def _hit(
    limiter: "SlidingWindowCounterRateLimiter", item: "RateLimitItem", who: tuple[str, str]
) -> float | None:
    if await limiter.hit(item, *who):
        return None
    window = await limiter.get_window_stats(item, *who)
    return max(0.0, window.reset_time - time.time())
