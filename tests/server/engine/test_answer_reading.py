import math

import pytest

from server.engine.answer_reading import MAX_TOKEN_IDS, AnswerReading
from server.engine.recognition import RecognitionRows
from server.errors import TooManyAnswerTokensError, UnusableAnswerError

WORDS = {"yes": (1, 2), "no": (3,)}
ROWS = RecognitionRows(categories={"Hate": 10}, concepts={"Swastika": 11}, none=12)


def test_variants_of_an_option_are_summed() -> None:
    logprobs = {1: math.log(0.25), 2: math.log(0.5), 3: math.log(0.125), 99: 0.0}
    answer = AnswerReading(WORDS, rows=None).read(logprobs)
    assert answer.option_mass == pytest.approx({"yes": 0.75, "no": 0.125})
    assert answer.recognition is None


def test_rows_are_asked_for_and_read_beside_the_options() -> None:
    reading = AnswerReading(WORDS, ROWS)
    assert reading.token_ids == (1, 2, 3, 10, 11, 12)
    answer = reading.read({1: -1.0, 2: -2.0, 3: -3.0, 10: -90.0, 11: -90.0, 12: -90.0})
    assert answer.recognition is not None
    assert answer.recognition.no_category == pytest.approx(0.5)


def test_an_impossible_option_has_no_mass() -> None:
    answer = AnswerReading(WORDS, rows=None).read({1: 0.0, 2: -math.inf, 3: -math.inf})
    assert answer.option_mass == {"yes": 1.0, "no": 0.0}


def test_rounding_never_carries_a_mass_past_one() -> None:
    answer = AnswerReading(WORDS, rows=None).read({1: 1e-6, 2: -1e-6, 3: -50.0})
    assert answer.option_mass["yes"] == 1.0


@pytest.mark.parametrize("broken", [{}, {1: -1.0, 2: -1.0}, {1: -1.0, 2: -1.0, 3: math.nan}])
def test_what_is_missing_or_no_number_is_no_answer(broken: dict[int, float]) -> None:
    with pytest.raises(UnusableAnswerError):
        AnswerReading(WORDS, rows=None).read(broken)


def test_more_tokens_than_the_engine_returns_are_refused_with_the_count() -> None:
    many = {"yes": tuple(range(MAX_TOKEN_IDS)), "no": (MAX_TOKEN_IDS,)}
    with pytest.raises(TooManyAnswerTokensError) as caught:
        AnswerReading(many, rows=None)
    assert (caught.value.limit, caught.value.got) == (MAX_TOKEN_IDS, MAX_TOKEN_IDS + 1)


def test_exactly_as_many_as_the_engine_returns_are_fine() -> None:
    AnswerReading({"yes": tuple(range(MAX_TOKEN_IDS))}, rows=None)
