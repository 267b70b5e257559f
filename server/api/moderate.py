"""One moderation call from its inputs to its results.

Two steps, each for all inputs at once: prepare (decode, check lengths), then judge. A call ends
with the first input that can't be prepared, before the model was asked anything, unless the caller
asked that each input answer for itself: then it alone is reported and the others are judged.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from PIL import Image

from server.api.call import CallInput, ImageUrlInput, ModerationCall, TextInput, UploadInput
from server.api.errors import RefusedInputError, error_object, rule_for
from server.api.results import Modality, ResultWriter
from server.api.schemas import ModerationResult, TimingsMs
from server.concepts.policy import Policy
from server.concepts.taxonomy import Taxonomy
from server.concepts.verdict import UNREAD, Verdict, merge
from server.errors import ImageBytesError, SightwardError, TextLengthError, UrlFetchError
from server.ingest.decode import CheckedImage
from server.ingest.pool import DecodePool
from server.moderator import Moderator
from server.settings import Settings
from server.telemetry import Metrics, RequestRecord

_WEB_SCHEMES = ("http:", "https:")


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An input that can be judged; `decode_ms` is 0 for texts."""

    param: str
    content: Image.Image | str
    decode_ms: float


@dataclass(frozen=True, slots=True)
class _Judged:
    """One input's verdict."""

    verdict: Verdict
    modality: Modality
    decode_ms: float
    engine_ms: float


@dataclass(frozen=True, slots=True)
class CallHandler:
    """Handles calls; holds what they share and nothing of any one of them."""

    settings: Settings
    decode_pool: DecodePool
    policy: Policy
    taxonomy: Taxonomy
    metrics: Metrics

    async def results(
        self, call: ModerationCall, moderator: Moderator, record: RequestRecord, *, began_s: float
    ) -> list[ModerationResult]:
        """The results in the inputs' order; `began_s` is `time.perf_counter` at the call's arrival.

        Raises `RefusedInputError` for a bad input unless inputs are reported singly, and
        `EngineError` when the model can't answer, which concerns the whole call either way.
        """
        record.images, record.texts = call.images, len(call.inputs) - call.images
        record.model_version = moderator.model_version
        prepared = await asyncio.gather(*(self._prepare(item) for item in call.inputs))
        if not call.options.per_input:
            _raise_first_refusal(prepared)
        judged = await asyncio.gather(*(self._judge(item, moderator) for item in prepared))
        if not call.options.per_input:
            _raise_first_refusal(judged)
        self._note_durations(judged, record)
        writer = ResultWriter(self.policy, self.taxonomy, moderator.model_version)
        groups = [judged] if call.is_merged else [[item] for item in judged]
        return [
            self._result(group, writer, record, is_detailed=call.options.detail, began_s=began_s)
            for group in groups
        ]

    async def _prepare(self, item: CallInput) -> _Prepared | RefusedInputError:
        began_s = time.perf_counter()
        try:
            if isinstance(item, TextInput):
                self._check_text(item.text)
                return _Prepared(item.param, item.text, decode_ms=0.0)
            checked = await self._decode(item)
        except SightwardError as error:
            return RefusedInputError(error, param=item.param)
        decode_ms = (time.perf_counter() - began_s) * 1000
        self.metrics.observe("decode", decode_ms)
        return _Prepared(item.param, checked.image, decode_ms)

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
        if item.url[:8].lower().startswith(_WEB_SCHEMES):
            raise UrlFetchError
        return await self.decode_pool.decode_url(item.url)

    async def _judge(
        self, item: _Prepared | RefusedInputError, moderator: Moderator
    ) -> _Judged | RefusedInputError:
        if isinstance(item, RefusedInputError):
            return item
        try:
            if isinstance(item.content, str):
                judgement = await moderator.judge_text(item.content)
                modality: Modality = "text"
            else:
                judgement = await moderator.judge_image(item.content)
                modality = "image"
        except SightwardError as error:
            if rule_for(error).status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            return RefusedInputError(error, param=item.param)
        self.metrics.observe("engine", judgement.engine_ms)
        return _Judged(judgement.verdict, modality, item.decode_ms, judgement.engine_ms)

    def _note_durations(
        self, judged: Sequence[_Judged | RefusedInputError], record: RequestRecord
    ) -> None:
        done = [item for item in judged if isinstance(item, _Judged)]
        record.decode_ms = max((item.decode_ms for item in done), default=None)
        record.engine_ms = max((item.engine_ms for item in done), default=None)

    def _result(
        self,
        group: Sequence[_Judged | RefusedInputError],
        writer: ResultWriter,
        record: RequestRecord,
        *,
        is_detailed: bool,
        began_s: float,
    ) -> ModerationResult:
        """One result for a group: all inputs of a merged call, else a single one."""
        judged = [item for item in group if isinstance(item, _Judged)]
        refused = [item for item in group if isinstance(item, RefusedInputError)]
        verdict = UNREAD if refused else merge([item.verdict for item in judged])
        record.outcomes[verdict.outcome.value] += 1
        self.metrics.count_result(verdict.outcome.value, writer.action(verdict).value)
        if refused:
            shown = error_object(refused[0].cause, param=refused[0].param)
            self.metrics.refused_inputs.labels(shown.code).inc()
            return writer.failed(shown)
        modalities = [item.modality for item in judged]
        if not is_detailed:
            return writer.plain(verdict, modalities)
        timings_ms = TimingsMs(
            decode=round(max(item.decode_ms for item in judged), 3),
            engine=round(max(item.engine_ms for item in judged), 3),
            total=round((time.perf_counter() - began_s) * 1000, 3),
        )
        return writer.detailed(verdict, modalities, timings_ms)


def _raise_first_refusal(items: Sequence[object]) -> None:
    for item in items:
        if isinstance(item, RefusedInputError):
            raise item
