import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.ingest.text_pieces import MAX_PIECE_CHARS, cut_text

TEXTS = st.text(alphabet="ab \n", max_size=200)
SIZES = st.integers(5, 40).flatmap(
    lambda max_chars: st.tuples(st.just(max_chars), st.integers(0, (max_chars - 1) // 2))
)


def test_a_short_text_is_one_piece_with_its_white_space_collapsed() -> None:
    assert cut_text("  a\n\nshort \t text ") == ("a short text",)


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_a_text_without_words_has_no_pieces(text: str) -> None:
    assert cut_text(text) == ()


def test_a_long_text_is_cut_between_words_with_an_overlap() -> None:
    pieces = cut_text("one two three four five six", max_chars=14, overlap_chars=5)

    assert pieces == ("one two three", "three four", "four five six")


def test_a_text_without_spaces_is_cut_anywhere() -> None:
    assert cut_text("abcdefghij", max_chars=6, overlap_chars=2) == ("abcdef", "efghij")


@given(TEXTS, SIZES)
def test_pieces_fit_and_cover_the_text_in_order(text: str, sizes: tuple[int, int]) -> None:
    max_chars, overlap_chars = sizes
    words = " ".join(text.split())
    pieces = cut_text(text, max_chars=max_chars, overlap_chars=overlap_chars)

    assert all(0 < len(piece) <= max_chars for piece in pieces)
    # Every character is in some piece: joining what each adds gives the text without its spaces.
    covered = 0
    for piece in pieces:
        at = max(start for start in range(covered + 2) if words.startswith(piece, start))
        covered = max(covered, at + len(piece))
    assert covered == len(words)


@given(st.lists(st.text(alphabet="ab", min_size=1, max_size=60), max_size=30), SIZES)
def test_a_word_no_longer_than_the_overlap_is_whole_in_some_piece(
    words: list[str], sizes: tuple[int, int]
) -> None:
    max_chars, overlap_chars = sizes
    numbered = [f"{word}{index}" for index, word in enumerate(words)]
    pieces = cut_text(" ".join(numbered), max_chars=max_chars, overlap_chars=overlap_chars)

    kept = {word for piece in pieces for word in piece.split()}
    assert {word for word in numbered if len(word) <= overlap_chars} <= kept


@pytest.mark.parametrize(("max_chars", "overlap_chars"), [(10, 5), (10, -1), (0, 0)])
def test_an_overlap_that_would_not_move_on_is_refused(max_chars: int, overlap_chars: int) -> None:
    with pytest.raises(ValueError, match="too much"):
        cut_text("x" * MAX_PIECE_CHARS, max_chars=max_chars, overlap_chars=overlap_chars)
