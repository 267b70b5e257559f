"""Cuts a long text into overlapping pieces, each short enough for one question.

A model that reads a whole page at once overlooks the one bad sentence in it; a piece at a time it
can't. Pieces overlap so that no phrase is lost in a cut.
"""

MAX_PIECE_CHARS = 600
OVERLAP_CHARS = 100


def cut_text(
    text: str, *, max_chars: int = MAX_PIECE_CHARS, overlap_chars: int = OVERLAP_CHARS
) -> tuple[str, ...]:
    """Pieces of at most `max_chars` characters in order; none for a text of white space only.

    White space is collapsed first. Cuts fall between words where there are any, else (scripts
    without spaces, endless words) anywhere. A word of at most `overlap_chars` is whole in some
    piece. Raises `ValueError` unless the overlap is less than half of a piece.
    """
    if not 0 <= 2 * overlap_chars < max_chars:
        raise ValueError(f"an overlap of {overlap_chars} is too much for pieces of {max_chars}")
    words = " ".join(text.split())
    pieces = []
    start = 0
    while start < len(words):
        end = _end_of_piece(words, start, max_chars, overlap_chars)
        pieces.append(words[start:end].strip())
        if end == len(words):
            break
        # Back by the overlap, then forward to where a word begins.
        space = words.find(" ", end - overlap_chars, end)
        start = end - overlap_chars if space < 0 else space + 1
    return tuple(pieces)


def _end_of_piece(words: str, start: int, max_chars: int, overlap_chars: int) -> int:
    """Where the piece from `start` ends; always beyond the overlap, so the next one moves on."""
    end = start + max_chars
    if end >= len(words):
        return len(words)
    space = words.rfind(" ", start + overlap_chars + 1, end + 1)
    return end if space < 0 else space
