"""The cache that the settings describe."""

from server.cache.look_alikes import LookAlikes
from server.cache.memory_store import MemoryStore
from server.cache.redis_store import RedisStore
from server.cache.score_cache import ScoreCache
from server.errors import SettingsError
from server.settings import PREFIX, Settings
from server.telemetry import Metrics


def open_cache(settings: Settings, metrics: Metrics) -> ScoreCache | None:
    """The cache, to be closed when done; None where everything is judged.

    Whether a shared store is there shows when it is used, not here. Raises `SettingsError` for an
    address that is none, and where the client for it is not installed.
    """
    if settings.cache == "off":
        return None
    alike = None
    if settings.cache_look_alikes != "off":
        alike = LookAlikes(
            settings.cache_look_alikes,
            distance=settings.cache_look_alike_bits,
            max_pictures=settings.cache_look_alike_pictures,
        )
    if settings.cache == "redis":
        return ScoreCache(_redis_store(settings), metrics, alike=alike)
    store = MemoryStore(max_bytes=settings.cache_max_bytes, ttl_s=settings.cache_ttl_s)
    metrics.cache_bytes.set_function(lambda: store.used_bytes)
    metrics.cache_entries.set_function(lambda: len(store))
    return ScoreCache(store, metrics, alike=alike)


def _redis_store(settings: Settings) -> RedisStore:
    url = settings.redis_url
    if url is None:
        raise SettingsError((f"{PREFIX}CACHE is redis and {PREFIX}REDIS_URL is not set",))
    try:
        return RedisStore(
            url.get_secret_value(),
            ttl_s=settings.cache_ttl_s,
            timeout_s=settings.cache_timeout_s,
        )
    except ImportError as error:
        raise SettingsError((f"{PREFIX}CACHE=redis needs Sightward's extra redis",)) from error
    except ValueError as error:
        # The value itself is left out: it may hold a password.
        raise SettingsError(
            (f"{PREFIX}REDIS_URL: not of the form redis://, rediss:// or unix://",)
        ) from error
