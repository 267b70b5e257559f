"""From one item to one row: read, decode, ask, decide.

Reading, decoding and hashing happen in a pool of threads, outside the event loop; the questions go
through the same moderator, decoder and policy as the service's, so an audit says of a picture what
the endpoint would. A failure that belongs to one picture becomes its row; an engine that can't
answer ends the audit, because the rows it would write say nothing.
"""

import asyncio
import hashlib
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from server.api.errors import rule_for
from server.audit.item import Item
from server.audit.row import Row
from server.audit.tables import MISSING_FILE
from server.cascade import FastPath
from server.concepts.policy import Action, Policy
from server.concepts.verdict import Outcome, Verdict
from server.errors import ImageError, QuestionTooLongError, SightwardError
from server.ingest.decode import CheckedImage, ImageDecoder
from server.ingest.limits import ImageLimits
from server.ingest.perceptual_hash import perceptual_hash
from server.moderator import Moderator

UNREADABLE_FILE = "unreadable_file"
THUMBNAIL_PX = 192

_QUALITY = 70


@dataclass(frozen=True, slots=True)
class _Opened:
    """A picture that was read and decoded."""

    sha256: str
    checked: CheckedImage
    perceptual_hash: int


@dataclass(frozen=True, slots=True)
class _Refused:
    """What was read is no picture, or nothing was read (then without a hash)."""

    error: str
    detail: str
    sha256: str | None = None


class Judge:
    """Judges items with one moderator; many at once. `close` it when done.

    `fast_path` is the moderator's, closed with the judge.
    """

    def __init__(
        self,
        moderator: Moderator,
        policy: Policy,
        *,
        limits: ImageLimits,
        decode_threads: int,
        fast_path: FastPath | None = None,
    ) -> None:
        self._moderator = moderator
        self._fast_path = fast_path
        self._policy = policy
        self._limits = limits
        self._decoder = ImageDecoder(limits)
        self._threads = ThreadPoolExecutor(decode_threads, thread_name_prefix="audit-decode")

    @property
    def version(self) -> str:
        """Everything that a row's scores and action depend on; valid once the engine started."""
        return f"{self._moderator.model_version}+policy-{self._policy.version}"

    async def close(self) -> None:
        """Let running decodes end, drop those that have not begun."""
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
        if self._fast_path is not None:
            await self._fast_path.close()

    async def row(self, item: Item) -> Row:
        """The item's row. Raises `EngineError` when the engine can't be asked."""
        loop = asyncio.get_running_loop()
        opened = await loop.run_in_executor(self._threads, self._open, item)
        if isinstance(opened, _Refused):
            return self._row(item, error=opened.error, detail=opened.detail, sha256=opened.sha256)
        try:
            judged = await self._moderator.judge_image(opened.checked.image)
        except QuestionTooLongError as error:
            return self._row(item, opened=opened, error=rule_for(error).code, detail=str(error))
        verdict = judged.verdict
        thumbnail = None
        if self._policy.decide(verdict).action is not Action.ALLOW:
            thumbnail = await loop.run_in_executor(self._threads, _thumbnail, opened.checked.image)
        return self._row(item, opened=opened, verdict=verdict, thumbnail=thumbnail)

    def _open(self, item: Item) -> _Opened | _Refused:
        if item.failure:
            return _Refused(item.failure, item.detail)
        try:
            data = item.read(max_bytes=self._limits.max_bytes)
        except FileNotFoundError as error:
            return _Refused(MISSING_FILE, error.strerror or "")
        except OSError as error:
            return _Refused(UNREADABLE_FILE, error.strerror or str(error))
        except ImageError as error:
            return _Refused(rule_for(error).code, _detail(error))
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            checked = self._decoder.decode(data)
        except ImageError as error:
            return _Refused(rule_for(error).code, _detail(error), sha256)
        return _Opened(sha256, checked, perceptual_hash(checked.image))

    def _row(
        self,
        item: Item,
        *,
        opened: _Opened | None = None,
        verdict: Verdict | None = None,
        thumbnail: bytes | None = None,
        sha256: str | None = None,
        error: str | None = None,
        detail: str = "",
    ) -> Row:
        decision = None if verdict is None else self._policy.decide(verdict)
        p_unsafe = None if verdict is None else verdict.p_unsafe
        risk = None if verdict is None else verdict.risk
        seen = None if verdict is None else verdict.recognition
        label = item.label
        return Row(
            id=item.id,
            path=item.path,
            key=item.key,
            sha256=sha256 if opened is None else opened.sha256,
            fingerprint=None if opened is None else opened.checked.fingerprint,
            perceptual_hash=None if opened is None else opened.perceptual_hash,
            width=None if opened is None else opened.checked.width,
            height=None if opened is None else opened.checked.height,
            outcome=str(Outcome.UNDETERMINED if verdict is None else verdict.outcome),
            p_unsafe=p_unsafe,
            action=self._policy.undetermined if decision is None else str(decision.action),
            # What could not be judged is not flagged either: it is counted by itself.
            flagged=decision is not None and p_unsafe is not None and decision.flagged,
            category=_likeliest(None if seen is None else seen.categories),
            concept=_likeliest(None if seen is None else seen.concepts),
            categories=(verdict.categories or None) if verdict is not None else None,
            concepts=(verdict.concepts or None) if verdict is not None else None,
            risk_level=None if risk is None else risk.level,
            risk_type=None if risk is None else risk.type,
            risk_levels=None if risk is None else risk.levels,
            risk_types=None if risk is None else risk.types,
            error=error,
            error_detail=detail or None,
            label=None if label is None else ("Unsafe" if label.is_unsafe else "Safe"),
            label_category="" if label is None else label.category,
            label_concept="" if label is None else label.concept,
            model_version=self.version,
            thumbnail=thumbnail,
        )


def _likeliest(scores: Mapping[str, float] | None) -> str:
    return max(scores, key=lambda name: scores[name]) if scores else ""


def _detail(error: SightwardError) -> str:
    return str(error) or "holds nothing"


def _thumbnail(image: Image.Image) -> bytes:
    small = image.copy()
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    small.save(buffer, format="WEBP", quality=_QUALITY, method=2)
    return buffer.getvalue()
