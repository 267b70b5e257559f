"""The most confident wrong judgements, and small copies of their pictures.

Pictures come from the data set's folder, which must be the very one that was measured: its content
hash is held against the record's. A page may be opened by anyone, so by default only a preview of a
few pixels shows until a reader asks for the picture.
"""

import base64
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from alignment.data.manifest import Example, ImageSet, read_image_set
from alignment.data.open_set import read_open_set
from benchmarks.capabilities.schema import NO_ANSWER, AnswerRow, CapabilitiesRecord
from benchmarks.errors import MeasurementError
from server.errors import SightwardError

THUMBNAIL_PX = 160
MOST_SHOWN = 12
"""Of each kind of mistake."""

_PREVIEW_PX = 6
_QUALITY = 72
_NEUTRAL = 0.5


@dataclass(frozen=True, slots=True)
class WrongPicture:
    """A picture that was judged wrong.

    `p_unsafe` is the mean over its questions; where only written answers were asked for, it is the
    share of its answers that say unsafe, and `is_share` is true. `answer` is a written one, if any.
    """

    subject: str
    concept: str
    category: str
    is_unsafe: bool
    p_unsafe: float
    questions: int
    is_share: bool = False
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small copy of a picture and a preview of a few pixels, both as ``data:`` addresses."""

    picture: str
    preview: str
    width_px: int
    height_px: int
    credit: str


@dataclass(frozen=True, slots=True)
class WrongPictures:
    """The worst of both kinds, the most confident first."""

    safe_called_unsafe: tuple[WrongPicture, ...]
    unsafe_called_safe: tuple[WrongPicture, ...]

    def __len__(self) -> int:
        return len(self.safe_called_unsafe) + len(self.unsafe_called_safe)


def worst_pictures(record: CapabilitiesRecord, *, most: int = MOST_SHOWN) -> WrongPictures:
    """The most confident mistakes about pictures, one of each group of near-duplicates."""
    rows: dict[str, list[AnswerRow]] = defaultdict(list)
    for row in record.answers:
        if (row.suite, row.modality) == ("alignment", "image"):
            rows[row.subject].append(row)
    found: dict[str, WrongPicture] = {}
    for subject in sorted(rows):
        wrong = _judged_wrong(rows[subject])
        if wrong is None:
            continue
        group = rows[subject][0].group
        if group not in found or _confidence(wrong) > _confidence(found[group]):
            found[group] = wrong
    by_confidence = sorted(found.values(), key=lambda one: (-_confidence(one), one.subject))
    return WrongPictures(
        tuple(one for one in by_confidence if not one.is_unsafe)[:most],
        tuple(one for one in by_confidence if one.is_unsafe)[:most],
    )


def measured_images(
    records: Sequence[CapabilitiesRecord], data: Path | None
) -> list[ImageSet | None]:
    """The image set behind each record: `data`, or the shipped open set where that was measured.

    None where neither is. Raises `MeasurementError` if `data` is behind none of the records.
    """
    shipped = read_open_set()
    given = None if data is None else read_image_set(data)
    known = {one.sha256: one for one in (shipped, given) if one is not None}
    measured = list(dict.fromkeys(record.data for record in records))
    if given is not None and given.sha256 not in {one.sha256 for one in measured}:
        named = "; ".join(f"{one.name}, {one.sha256[:12]}" for one in measured)
        raise MeasurementError(
            f"{data} is not the data that was measured ({named}): "
            f"its content hash begins with {given.sha256[:12]}"
        )
    return [known.get(record.data.sha256) for record in records]


def thumbnails(
    wrong: WrongPictures, images: ImageSet, *, side_px: int = THUMBNAIL_PX
) -> Mapping[str, Thumbnail]:
    """Thumbnails by subject; a picture that can't be found or decoded has none."""
    examples = {example.id: example for example in images.examples}
    made: dict[str, Thumbnail] = {}
    for one in (*wrong.safe_called_unsafe, *wrong.unsafe_called_safe):
        example = examples.get(one.subject)
        if example is None:
            continue
        try:
            picture = images.open(example)
        except SightwardError:
            continue
        made[one.subject] = _thumbnail(picture, example, side_px)
    return made


def _thumbnail(picture: Image.Image, example: Example, side_px: int) -> Thumbnail:
    small = picture.copy()
    small.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    preview = small.resize((_PREVIEW_PX, _PREVIEW_PX), Image.Resampling.BOX)
    return Thumbnail(
        picture=_data_url(small),
        preview=_data_url(preview),
        width_px=small.width,
        height_px=small.height,
        credit=", ".join(part for part in (example.source, example.license) if part),
    )


def _data_url(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=_QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _judged_wrong(rows: Sequence[AnswerRow]) -> WrongPicture | None:
    """The picture's mistake; None where it was judged right or not at all."""
    scored = [row.p_unsafe for row in rows if row.mode == "token" and row.p_unsafe is not None]
    is_share = not scored
    if is_share:
        answered = [row.outcome for row in rows if row.outcome != NO_ANSWER]
        scored = [float(outcome == "unsafe") for outcome in answered]
    if not scored:
        return None
    first = rows[0]
    mean = sum(scored) / len(scored)
    if mean == _NEUTRAL or (mean > _NEUTRAL) == first.is_unsafe:
        return None
    says = "unsafe" if mean > _NEUTRAL else "safe"
    return WrongPicture(
        subject=first.subject,
        concept=first.concept,
        category=first.category,
        is_unsafe=first.is_unsafe,
        p_unsafe=mean,
        questions=len(scored),
        is_share=is_share,
        answer=next((row.text for row in rows if row.text and row.outcome == says), None),
    )


def _confidence(wrong: WrongPicture) -> float:
    return abs(wrong.p_unsafe - _NEUTRAL)
