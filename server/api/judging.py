"""One input of a call: from what was sent to a picture or text that can be judged, to its verdict.

An input that is refused becomes a value of its own, since the caller may have asked that each input
answer for itself.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

from PIL import Image

from server.api.call import CallInput, ImageUrlInput, TextInput, UploadInput
from server.api.errors import RefusedInputError, rule_for
from server.api.results import Course, Modality
from server.api.schemas import TimingsMs
from server.cache.score_cache import ScoreCache, Subject
from server.concepts.verdict import Verdict
from server.errors import (
    ImageBytesError,
    SightwardError,
    TextLengthError,
    UrlFetchDisabledError,
    UrlFetchError,
)
from server.ingest.decode import CheckedImage
from server.ingest.fetch import ImageFetcher
from server.ingest.fingerprint import text_fingerprint
from server.ingest.pool import DecodePool
from server.moderator import Judgement, Moderator, ScoreSource
from server.rollout.roles import Role
from server.settings import Settings
from server.telemetry import Metrics, RequestRecord
from server.telemetry.drift import DriftWatch
from server.telemetry.traces import span

_WEB_SCHEMES = ("http:", "https:")


@dataclass(frozen=True, slots=True)
class Prepared:
    """An input that can be judged; `decode_ms` is 0 for texts. `fingerprint` names its content."""

    param: str
    content: Image.Image | str
    decode_ms: float
    fingerprint: str

    @classmethod
    def words(cls, param: str, text: str) -> Self:
        """A text."""
        return cls(param, text, decode_ms=0.0, fingerprint=text_fingerprint(text))


@dataclass(frozen=True, slots=True)
class Judged:
    """One input's verdict, and where its scores come from (`server.moderator.Judgement`).

    `model_version` names what judged it; None: nothing did.
    """

    verdict: Verdict
    modality: Modality
    decode_ms: float
    engine_ms: float
    fingerprint: str
    source: ScoreSource = "model"
    distance: int | None = None
    model_version: str | None = None


@dataclass(frozen=True, slots=True)
class InputHandler:
    """Prepares and judges inputs; holds what they share and nothing of any one of them."""

    settings: Settings
    decode_pool: DecodePool
    metrics: Metrics
    fetcher: ImageFetcher | None = None
    cache: ScoreCache | None = None
    drift: DriftWatch | None = None

    async def prepare(self, item: CallInput) -> Prepared | RefusedInputError:
        """Fetch and decode a picture, check a text's length; returns an unusable one's refusal."""
        began_s = time.perf_counter()
        try:
            if isinstance(item, TextInput):
                self._check_text(item.text)
                return Prepared.words(item.param, item.text)
            if isinstance(item, ImageUrlInput) and item.url[:8].lower().startswith(_WEB_SCHEMES):
                with span("fetch"):
                    fetched = await self._fetch(item.url)
                began_s = time.perf_counter()
                with span("decode"):
                    checked = await self.decode_pool.decode_bytes(fetched)
            else:
                with span("decode"):
                    checked = await self._decode(item)
        except SightwardError as error:
            return RefusedInputError(error, param=item.param)
        decode_ms = (time.perf_counter() - began_s) * 1000
        self.metrics.observe("decode", decode_ms)
        return Prepared(item.param, checked.image, decode_ms, checked.fingerprint)

    def _check_text(self, text: str) -> None:
        limit_chars = self.settings.max_text_chars
        if len(text) > limit_chars:
            raise TextLengthError(limit_chars=limit_chars, got_chars=len(text))

    async def _decode(self, item: ImageUrlInput | UploadInput) -> CheckedImage:
        if isinstance(item, UploadInput):
            limit_bytes, got_bytes = self.settings.max_image_bytes, item.upload.size or 0
            if got_bytes > limit_bytes:
                raise ImageBytesError(limit_bytes=limit_bytes, got_bytes=got_bytes)
            return await self.decode_pool.decode_bytes(await item.upload.read())
        return await self.decode_pool.decode_url(item.url)

    async def _fetch(self, url: str) -> bytes:
        if self.fetcher is None:
            raise UrlFetchDisabledError
        began_s = time.perf_counter()
        outcome = "fetched"
        try:
            return await self.fetcher.fetch(url)
        except UrlFetchError as error:
            outcome = rule_for(error).code
            raise
        finally:
            self.metrics.fetches.labels(outcome).inc()
            self.metrics.observe("fetch", (time.perf_counter() - began_s) * 1000)

    async def judge(
        self,
        item: Prepared | RefusedInputError,
        moderator: Moderator,
        role: Role = Role.DEFAULT,
    ) -> Judged | RefusedInputError:
        """The input's verdict, or its refusal; raises `EngineError` for a model that can't answer.

        A refusal that was passed in comes back. Drift is the default's alone, and what is not
        answered with (a shadow's) is counted nowhere.
        """
        if isinstance(item, RefusedInputError):
            return item
        # Read once: a policy that changes meanwhile changes the version of what comes then.
        version = moderator.model_version
        try:
            judgement = await self._judgement(item, moderator, version)
        except SightwardError as error:
            if rule_for(error).status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            return RefusedInputError(error, param=item.param)
        modality: Modality = "text" if isinstance(item.content, str) else "image"
        if role is not Role.SHADOW:
            self._note(modality, judgement, role)
        return Judged(
            judgement.verdict,
            modality,
            item.decode_ms,
            judgement.engine_ms,
            item.fingerprint,
            judgement.source,
            judgement.distance,
            version,
        )

    def _note(self, modality: Modality, judgement: Judgement, role: Role) -> None:
        if judgement.source == "model":
            self.metrics.observe("engine", judgement.engine_ms)
            for judge in judgement.verdict.judged_by:
                self.metrics.judged.labels(modality, judge).inc()
        p_unsafe = judgement.verdict.p_unsafe
        if p_unsafe is None:
            return
        self.metrics.p_unsafe.labels(modality).observe(p_unsafe)
        if self.drift is not None and role is Role.DEFAULT:
            self.drift.add(modality, p_unsafe)

    async def _judgement(self, item: Prepared, moderator: Moderator, version: str) -> Judgement:
        """What the model says now, or said before of the same content."""
        content = item.content

        async def ask() -> Judgement:
            with span("engine"):
                if isinstance(content, str):
                    return await moderator.judge_text(content)
                return await moderator.judge_image(content)

        if self.cache is None:
            return await ask()
        image = None if isinstance(content, str) else content
        subject = Subject(item.fingerprint, version, image)
        return await self.cache.judgement(subject, ask)


def raise_first_refusal(items: Sequence[object]) -> None:
    """Raise the first `RefusedInputError` among `items`, if there is one."""
    for item in items:
        if isinstance(item, RefusedInputError):
            raise item


def note_durations(judged: Sequence[Judged | RefusedInputError], record: RequestRecord) -> None:
    """Note for the log the slowest input's durations, known scores, and what judged."""
    done = [item for item in judged if isinstance(item, Judged)]
    record.decode_ms = max((item.decode_ms for item in done), default=None)
    record.engine_ms = max((item.engine_ms for item in done), default=None)
    record.known = sum(item.source in ("cache", "near_duplicate") for item in done)
    record.model_version = ", ".join(_versions(done)) or record.model_version


def course_of(judged: Sequence[Judged], *, began_s: float) -> Course:
    """The slowest input's durations and that of the call since `began_s`, and all sources."""
    timings_ms = TimingsMs(
        decode=round(max(item.decode_ms for item in judged), 3),
        engine=round(max(item.engine_ms for item in judged), 3),
        total=round((time.perf_counter() - began_s) * 1000, 3),
    )
    return Course(
        timings_ms,
        scores_from=frozenset(item.source for item in judged if item.verdict.judged_by),
        look_alike_bits=max(
            (item.distance for item in judged if item.distance is not None), default=None
        ),
        fingerprints=tuple(item.fingerprint for item in judged if item.modality == "image"),
        model_versions=_versions(judged),
    )


def _versions(judged: Sequence[Judged]) -> tuple[str, ...]:
    return tuple(sorted({one.model_version for one in judged if one.model_version is not None}))
