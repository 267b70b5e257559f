"""Asks about an operator's own concept: one more question beside the judgement."""

from collections.abc import Sequence

from PIL import Image

from server.concepts.own_concepts import OwnConcept
from server.concepts.probes import YesNoProbe
from server.errors import QuestionTooLongError
from server.ingest.text_pieces import MAX_PIECE_CHARS, OVERLAP_CHARS, cut_text
from server.moderator import Moderator

_MIN_PIECE_CHARS = 50


async def own_score(
    moderator: Moderator, content: Image.Image | str, concept: OwnConcept
) -> float | None:
    """P(yes); None where the model gave no answer.

    A long text is asked about in pieces and the highest speaks; of a text without words nothing is
    known. Raises `EngineError` when the engine can't be asked, and `QuestionTooLongError` where the
    description alone is too long for the model.
    """
    if not isinstance(content, str):
        return await moderator.answer_to(concept.probe, content)
    pieces = cut_text(content)
    return _highest([await _piece_score(moderator, piece, concept.probe) for piece in pieces])


async def _piece_score(moderator: Moderator, piece: str, probe: YesNoProbe) -> float | None:
    try:
        return await moderator.answer_to(probe, piece)
    except QuestionTooLongError:
        # Halving must shrink the piece, or it would be asked about for ever.
        max_chars = len(piece) // 2
        if max_chars < _MIN_PIECE_CHARS:
            raise
    overlap_chars = max_chars * OVERLAP_CHARS // MAX_PIECE_CHARS
    halves = cut_text(piece, max_chars=max_chars, overlap_chars=overlap_chars)
    return _highest([await _piece_score(moderator, half, probe) for half in halves])


def _highest(scores: Sequence[float | None]) -> float | None:
    """The highest; None where a piece gave no answer: what was not seen may be in that one."""
    known = [score for score in scores if score is not None]
    return max(known) if known and len(known) == len(scores) else None
