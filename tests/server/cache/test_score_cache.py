import asyncio
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from server.cache.look_alikes import LookAlikes, NearDuplicateUse
from server.cache.memory_store import MemoryStore
from server.cache.score_cache import ScoreCache, Subject
from server.concepts.verdict import UNREAD, Reading, Verdict, merge, verdict_of
from server.errors import CacheUnavailableError, EngineUnavailableError
from server.ingest.fingerprint import fingerprint
from server.moderator import Judgement
from server.telemetry import Metrics


def verdict(unsafe_mass: float) -> Verdict:
    return verdict_of([Reading(unsafe_mass, 0.5)], None, min_answer_mass=0.05)


SAFE, UNSAFE = verdict(0.1), verdict(0.9)


class Model:
    """Gives its verdict and counts how often it was asked."""

    def __init__(self, says: Verdict = SAFE) -> None:
        self.says = says
        self.asked = 0
        self.was_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self) -> Judgement:
        self.asked += 1
        self.was_asked.set()
        await self.may_answer.wait()
        return Judgement(self.says, engine_ms=5.0)


class BrokenStore:
    async def get(self, key: str) -> bytes | None:
        raise CacheUnavailableError("gone")

    async def put(self, key: str, payload: bytes) -> None:
        raise CacheUnavailableError("gone")

    async def close(self) -> None:
        pass


def cache_in_memory(metrics: Metrics | None = None, use: NearDuplicateUse = "off") -> ScoreCache:
    alike = None if use == "off" else LookAlikes(use, distance=16, max_pictures=10)
    return ScoreCache(MemoryStore(max_bytes=1 << 20, ttl_s=60), metrics or Metrics(), alike=alike)


def scene(*, mark: bool = False) -> Image.Image:
    """A picture with structure; with a mark of a few pixels another one that looks alike."""
    coarse = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    grey = Image.fromarray(coarse).resize((128, 128), Image.Resampling.BICUBIC)
    rgb = np.repeat(np.asarray(grey)[:, :, None], 3, axis=2)
    if mark:
        rgb[60:64, 60:64] = 255 - rgb[60:64, 60:64]
    return Image.fromarray(rgb)


def subject_of(image: Image.Image, version: str = "m@1") -> Subject:
    return Subject(fingerprint(image), version, image)


WORDS = Subject("f" * 64, "m@1")


async def test_what_was_judged_once_is_not_judged_again() -> None:
    model, metrics = Model(UNSAFE), Metrics()
    cache = cache_in_memory(metrics)
    first = await cache.judgement(WORDS, model)
    second = await cache.judgement(WORDS, model)
    assert model.asked == 1
    assert (first.verdict, first.source, first.engine_ms) == (UNSAFE, "model", 5.0)
    assert (second.verdict, second.source, second.engine_ms) == (UNSAFE, "cache", 0.0)
    for source in ("model", "cache"):
        labels = {"source": source}
        assert metrics.registry.get_sample_value("sightward_cache_requests_total", labels) == 1.0


@pytest.mark.parametrize(
    "other",
    [
        replace(WORDS, fingerprint="e" * 64),
        replace(WORDS, version="m@2"),
        Subject(WORDS.fingerprint, WORDS.version, Image.new("RGB", (4, 4))),
    ],
    ids=["other content", "other model or questions", "a picture"],
)
async def test_only_the_same_content_for_the_same_version_is_known(other: Subject) -> None:
    cache, model = cache_in_memory(), Model()
    await cache.judgement(WORDS, model)
    await cache.judgement(other, model)
    assert model.asked == 2


@pytest.mark.parametrize("unknown", [UNREAD, merge([UNREAD, UNSAFE])])
async def test_what_is_undetermined_in_any_part_is_asked_again(unknown: Verdict) -> None:
    cache, model = cache_in_memory(use="all"), Model(unknown)
    for _ in range(2):
        judgement = await cache.judgement(subject_of(scene()), model)
        assert (judgement.verdict, judgement.source) == (unknown, "model")
    assert model.asked == 2


async def test_a_failure_is_raised_and_not_remembered() -> None:
    cache = cache_in_memory()

    async def fail() -> Judgement:
        raise EngineUnavailableError("dead")

    with pytest.raises(EngineUnavailableError):
        await cache.judgement(WORDS, fail)
    assert (await cache.judgement(WORDS, Model())).source == "model"


async def test_identical_inputs_in_flight_are_asked_once_even_when_the_first_caller_leaves() -> (
    None
):
    cache, model = cache_in_memory(), Model()
    model.may_answer.clear()
    asking = [asyncio.create_task(cache.judgement(WORDS, model)) for _ in range(3)]
    await model.was_asked.wait()
    asking.pop(0).cancel()
    await asyncio.sleep(0)
    model.may_answer.set()
    judgements = await asyncio.gather(*asking)
    assert model.asked == 1
    assert [one.source for one in judgements] == ["in_flight", "in_flight"]


async def test_without_its_store_everything_is_judged_and_the_failures_are_counted() -> None:
    metrics, model = Metrics(), Model()
    cache = ScoreCache(BrokenStore(), metrics)
    for _ in range(2):
        assert (await cache.judgement(WORDS, model)).verdict == SAFE
    assert model.asked == 2
    for operation in ("get", "put"):
        labels = {"operation": operation}
        assert metrics.registry.get_sample_value("sightward_cache_failures_total", labels) == 2.0


async def test_what_the_store_gives_back_spoilt_is_judged_anew() -> None:
    class SpoilingStore(MemoryStore):
        async def put(self, key: str, payload: bytes) -> None:
            await super().put(key, payload.replace(b"unsafe", b"harmless"))

    metrics, model = Metrics(), Model(UNSAFE)
    cache = ScoreCache(SpoilingStore(max_bytes=1 << 20, ttl_s=60), metrics)
    for _ in range(2):
        assert (await cache.judgement(WORDS, model)).verdict == UNSAFE
    assert model.asked == 2
    labels = {"operation": "decode"}
    assert metrics.registry.get_sample_value("sightward_cache_failures_total", labels) == 1.0


@pytest.mark.parametrize(
    ("use", "says", "source"),
    [
        ("off", UNSAFE, "model"),
        ("unsafe", UNSAFE, "near_duplicate"),
        ("unsafe", SAFE, "model"),
        ("all", SAFE, "near_duplicate"),
    ],
)
async def test_a_look_alike_gets_the_scores_that_may_carry_over(
    use: NearDuplicateUse, says: Verdict, source: str
) -> None:
    cache = cache_in_memory(use=use)
    await cache.judgement(subject_of(scene()), Model(says))
    second = await cache.judgement(subject_of(scene(mark=True)), Model(says))
    assert (second.verdict, second.source) == (says, source)
    assert (second.distance is not None) == (source == "near_duplicate")


async def test_scores_of_a_look_alike_are_not_passed_on() -> None:
    cache = cache_in_memory(use="unsafe")
    await cache.judgement(subject_of(scene()), Model(UNSAFE))
    marked = subject_of(scene(mark=True))
    for _ in range(2):
        assert (await cache.judgement(marked, Model())).source == "near_duplicate"
