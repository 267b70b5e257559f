import pytest

from server.cache.memory_store import MemoryStore


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def test_what_was_put_is_given_until_it_is_too_old() -> None:
    clock = Clock()
    store = MemoryStore(max_bytes=10_000, ttl_s=60, clock=clock)
    await store.put("a", b"scores")
    clock.now_s += 59.9
    assert await store.get("a") == b"scores"
    clock.now_s += 0.1
    assert await store.get("a") is None
    assert (len(store), store.used_bytes) == (0, 0)


async def test_the_longest_unused_is_forgotten_first() -> None:
    store = MemoryStore(max_bytes=3_000, ttl_s=60)
    for key in ("a", "b"):
        await store.put(key, bytes(1_000))
    await store.get("a")
    await store.put("c", bytes(1_000))
    assert [await store.get(key) is not None for key in ("a", "b", "c")] == [True, False, True]


async def test_memory_stays_within_bounds_whatever_is_put() -> None:
    store = MemoryStore(max_bytes=5_000, ttl_s=60)
    for number in range(500):
        await store.put(f"key-{number % 37}", bytes(number % 1_500))
        assert store.used_bytes <= 5_000
    assert len(store) > 2
    await store.close()
    assert store.used_bytes == 0


@pytest.mark.parametrize("max_bytes", [0, 500])
async def test_what_is_larger_than_the_whole_store_is_not_kept(max_bytes: int) -> None:
    store = MemoryStore(max_bytes=max_bytes, ttl_s=60)
    await store.put("a", bytes(501))
    assert await store.get("a") is None


async def test_a_newer_payload_takes_the_place_of_the_older() -> None:
    store = MemoryStore(max_bytes=5_000, ttl_s=60)
    await store.put("a", b"old")
    used_bytes = store.used_bytes
    await store.put("a", b"new")
    assert await store.get("a") == b"new"
    assert store.used_bytes == used_bytes
