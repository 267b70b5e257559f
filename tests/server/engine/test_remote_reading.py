"""Completions read by hand-computed masses and by first words."""

import json
import math
from typing import Any

import pytest

from server.engine.remote.reading import read_first_word, read_logprobs, read_written
from server.engine.remote.wire import Completion
from server.errors import UnusableAnswerError

LETTERS = ("A", "B", "C")


def completion(
    content: str | None = None,
    *,
    shown: list[tuple[str, float]] | None = None,
    chosen: tuple[str, float] | None = None,
    **choice: Any,
) -> Completion:
    logprobs = None
    if shown is not None:
        first = chosen or shown[0]
        token = {"token": first[0], "logprob": first[1]}
        top = [{"token": text, "logprob": logprob} for text, logprob in shown]
        logprobs = {"content": [token | {"top_logprobs": top}]}
    one = {"message": {"content": content}, "logprobs": logprobs, **choice}
    return Completion.model_validate_json(json.dumps({"choices": [one]}))


def test_a_word_counts_in_any_case_with_any_space_before_it() -> None:
    shown = [("Yes", -1.0), (" yes", -2.0), ("\nYES", -3.0), ("No", -4.0), ("Not", -1.5)]
    mass = read_logprobs(completion(shown=shown), ("yes", "no")).option_mass
    assert mass["yes"] == pytest.approx(math.exp(-1) + math.exp(-2) + math.exp(-3))
    assert mass["no"] == pytest.approx(math.exp(-4))


def test_a_letter_counts_only_as_written() -> None:
    shown = [("a", -0.5), (" A", -1.5), ("B", -2.5), ("BB", -2.6), ("B.", -2.7)]
    mass = read_logprobs(completion(shown=shown), LETTERS).option_mass
    assert mass == pytest.approx({"A": math.exp(-1.5), "B": math.exp(-2.5), "C": 0.0})


def test_what_is_not_shown_is_no_options() -> None:
    mass = read_logprobs(completion(shown=[("Well", -0.01)]), ("yes", "no")).option_mass
    assert mass == {"yes": 0.0, "no": 0.0}


def test_two_tokens_that_read_alike_both_count() -> None:
    shown = [("yes", math.log(0.5)), ("yes", math.log(0.25))]
    assert read_logprobs(completion(shown=shown), ("yes",)).option_mass["yes"] == pytest.approx(
        0.75
    )


def test_the_chosen_token_counts_once_whether_or_not_it_is_listed() -> None:
    listed = completion(shown=[("yes", math.log(0.5)), ("no", math.log(0.25))])
    unlisted = completion(shown=[("no", math.log(0.25))], chosen=("yes", math.log(0.5)))
    for answer in (listed, unlisted):
        mass = read_logprobs(answer, ("yes", "no")).option_mass
        assert mass == pytest.approx({"yes": 0.5, "no": 0.25})


def test_an_impossible_token_has_no_mass_and_rounding_carries_none_past_one() -> None:
    shown = [("yes", 0.0), ("Yes", -9.0), ("no", -math.inf), ("No", -9999.0)]
    mass = read_logprobs(completion(shown=shown), ("yes", "no")).option_mass
    assert mass == {"yes": 1.0, "no": 0.0}


def test_a_refusal_or_nothing_at_all_is_mass_for_none() -> None:
    refused = completion(message={"refusal": "I can't."})
    silent = completion("", logprobs={"content": []})
    for answer in (refused, silent):
        assert read_logprobs(answer, ("yes", "no")).option_mass == {"yes": 0.0, "no": 0.0}


def test_missing_probabilities_are_not_an_answer() -> None:
    with pytest.raises(UnusableAnswerError):
        read_logprobs(completion("Yes"), ("yes", "no"))


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("Yes", "yes"),
        ("no.", "no"),
        (" \n**NO**, it is not", "no"),
        ('"Yes" is my answer', "yes"),
        ("Yes, but no", "yes"),
        ("Not at all", None),
        ("Nope", None),
        ("The answer is yes", None),
        ("I can't say yes or no", None),
        ("...", None),
        ("", None),
        (None, None),
    ],
)
def test_the_first_word_is_the_answer(text: str | None, option: str | None) -> None:
    mass = read_first_word(completion(text), ("yes", "no")).option_mass
    assert mass == {name: float(name == option) for name in ("yes", "no")}


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("A", "A"),
        ("(B) Arson", "B"),
        ("C. a fire", "C"),
        ("A) a fire", "A"),
        ("A: a fire", "A"),
        ("B a fire", "B"),
        ("A Fire", "A"),
        ("A picture of a fire", None),
        ("b", None),
        ("Arson", None),
        ("Option A", None),
        ("D", None),
    ],
)
def test_a_letter_is_told_from_an_article(text: str, option: str | None) -> None:
    mass = read_first_word(completion(text), LETTERS).option_mass
    assert mass == {name: float(name == option) for name in LETTERS}


@pytest.mark.parametrize("read", [read_logprobs, read_first_word])
def test_a_filtered_answer_is_none_even_with_words(read: Any) -> None:
    filtered = completion("Yes", shown=[("Yes", 0.0)], finish_reason="content_filter")
    with pytest.raises(UnusableAnswerError, match="content filter"):
        read(filtered, ("yes", "no"))
    with pytest.raises(UnusableAnswerError, match="content filter"):
        read_written(filtered)
