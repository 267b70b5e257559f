"""Scores by what they were given to: the same pixels, the same words, the same model and questions.

Scores are kept, never actions: those are the policy's, which may change. What could not be judged
is not kept, since the next attempt may succeed. A store that fails is counted and done without.

A picture that merely looks like one judged before may be given that one's scores, if the operator
wants it (`server.cache.look_alikes`). Scores that came that way are marked and never passed on.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

from PIL import Image

from server.cache.in_flight import InFlight
from server.cache.look_alikes import LookAlikes
from server.cache.near_duplicates import Neighbour
from server.cache.store import ScoreStore
from server.cache.verdict_codec import VerdictCodec
from server.concepts.verdict import Outcome, Verdict
from server.errors import CacheUnavailableError
from server.ingest.pdq import PdqHash, pdq_hash
from server.moderator import Judgement
from server.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class Subject:
    """What is judged. `fingerprint` names its content; `image` is None for words.

    `version` names all that the scores depend on beside the content: model, questions, calibration.
    """

    fingerprint: str
    version: str
    image: Image.Image | None = None


class ScoreCache:
    """Gives known scores, asks for unknown ones, and asks once where several want the same.

    `alike` is None where pictures that look alike are nothing to each other. `close` it when done.
    """

    def __init__(
        self, store: ScoreStore, metrics: Metrics, *, alike: LookAlikes | None = None
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._alike = alike
        self._codec = VerdictCodec()
        self._in_flight: InFlight[Judgement] = InFlight()

    async def judgement(
        self, subject: Subject, ask: Callable[[], Awaitable[Judgement]]
    ) -> Judgement:
        """The judgement that is known, else what `ask` gives; raises what `ask` raises.

        Cancelling it cancels `ask` only where nobody else waits for the same.
        """
        key = self._key(subject)
        landed = await self._in_flight.do(key, lambda: self._known_or_asked(key, subject, ask))
        judgement = landed.result
        if landed.was_joined and judgement.source == "model":
            judgement = replace(judgement, source="in_flight")
        self._metrics.cache_requests.labels(judgement.source).inc()
        return judgement

    async def close(self) -> None:
        """Release the store."""
        await self._store.close()

    def _key(self, subject: Subject) -> str:
        kind = "words" if subject.image is None else "picture"
        parts = (self._codec.version, kind, subject.version, subject.fingerprint)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    async def _known_or_asked(
        self, key: str, subject: Subject, ask: Callable[[], Awaitable[Judgement]]
    ) -> Judgement:
        verdict = await self._get(key)
        if verdict is not None:
            return Judgement(verdict, engine_ms=0.0, source="cache")
        look: PdqHash | None = None
        if self._alike is not None and subject.image is not None:
            look = await asyncio.to_thread(pdq_hash, subject.image)
            similar = await self._similar(self._alike.neighbours(look, subject.version))
            if similar is not None:
                return similar
        judgement = await ask()
        if _may_be_kept(judgement.verdict):
            await self._put(key, judgement.verdict)
            if look is not None and self._alike is not None:
                self._alike.add(look, key, subject.version, judgement.verdict.outcome)
        return judgement

    async def _similar(self, neighbours: Iterable[Neighbour]) -> Judgement | None:
        """The scores of the first neighbour that are still known."""
        for neighbour in neighbours:
            verdict = await self._get(neighbour.key)
            if verdict is not None:
                return Judgement(
                    verdict, engine_ms=0.0, source="near_duplicate", distance=neighbour.distance
                )
        return None

    async def _get(self, key: str) -> Verdict | None:
        try:
            payload = await self._store.get(key)
        except CacheUnavailableError:
            self._metrics.cache_failures.labels("get").inc()
            return None
        if payload is None:
            return None
        verdict = self._codec.decode(payload)
        if verdict is None:
            self._metrics.cache_failures.labels("decode").inc()
        return verdict

    async def _put(self, key: str, verdict: Verdict) -> None:
        try:
            await self._store.put(key, self._codec.encode(verdict))
        except CacheUnavailableError:
            self._metrics.cache_failures.labels("put").inc()


def _may_be_kept(verdict: Verdict) -> bool:
    is_judged = verdict.outcome is not Outcome.UNDETERMINED
    return is_judged and not (verdict.has_undetermined_part or verdict.has_unjudged_part)
