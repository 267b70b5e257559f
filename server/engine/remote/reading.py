"""What a completion says: how much mass each option got, or which words were written.

Where first-token probabilities are offered, only the likeliest are shown; the mass of the rest is
unknown and counts for no option. Where none are offered, the first word is taken for the answer:
all mass for the option it names, none at all, which is "no answer", for any other word.
"""

import math
import re
from collections.abc import Iterator, Sequence

from server.engine.answer_tokens import spoken_by
from server.engine.protocol import Answer, Written
from server.engine.remote.wire import ChosenToken, Completion, TokenLogprob
from server.errors import UnusableAnswerError

_CUT = frozenset({"length", "max_tokens"})
_FILTERED = "content_filter"

# Marks around a word ("**Yes**", "(A)") are no part of it.
_FIRST_WORD = re.compile(r"[\W_]*(\w+)(.*)", re.DOTALL)
_ARTICLES = frozenset({"A", "I"})
_SENTENCE_GOES_ON = re.compile(r"'|\s+[a-z]")


def check_options(options: Sequence[str]) -> None:
    """Raises `ValueError` when two of the options can't be told apart."""
    if len({spoken_by(option) for option in options}) < len(options):
        raise ValueError(f"options that one token can't tell apart: {list(options)}")


def has_logprobs(completion: Completion) -> bool:
    """Whether the first token came with probabilities."""
    logprobs = completion.choice.logprobs
    return logprobs is not None and bool(logprobs.content)


def read_logprobs(completion: Completion, options: Sequence[str]) -> Answer:
    """The mass of each option among the tokens that are shown.

    Raises `UnusableAnswerError` where a filter withheld the answer or no probabilities came.
    """
    check_not_filtered(completion)
    choice = completion.choice
    if choice.logprobs is None or choice.logprobs.content is None:
        if choice.message.refusal:
            return _mass_of_none(options)
        raise UnusableAnswerError("an answer came without the probabilities that others have")
    if not choice.logprobs.content:
        return _mass_of_none(options)
    spoken = [
        (spoken_by(shown.token), math.exp(shown.logprob))
        for shown in _shown(choice.logprobs.content[0])
    ]
    return Answer(
        option_mass={
            # Rounding may carry a sum of probabilities past 1 in the last digit.
            option: min(1.0, math.fsum(mass for says, mass in spoken if says == spoken_by(option)))
            for option in options
        }
    )


def read_first_word(completion: Completion, options: Sequence[str]) -> Answer:
    """All mass for the option that the answer's first word names, or none for any.

    Raises `UnusableAnswerError` where a filter withheld the answer.
    """
    check_not_filtered(completion)
    found = _FIRST_WORD.match(completion.choice.message.content or "")
    if found is None:
        return _mass_of_none(options)
    word, rest = found.groups()
    if word in _ARTICLES and _SENTENCE_GOES_ON.match(rest):
        return _mass_of_none(options)
    return Answer(
        option_mass={
            option: 1.0 if spoken_by(option) == spoken_by(word) else 0.0 for option in options
        }
    )


def read_written(completion: Completion) -> Written:
    """The written answer; one without any words is an empty one.

    A model's own refusal is its answer, a filter's is none. Where the endpoint does not count
    tokens, `tokens` counts words. Raises `UnusableAnswerError` where a filter withheld the answer.
    """
    check_not_filtered(completion)
    message = completion.choice.message
    text = message.content or message.refusal or ""
    counted = counted_tokens(completion)
    return Written(
        text=text,
        tokens=len(text.split()) if counted is None else counted,
        is_complete=completion.choice.finish_reason not in _CUT,
    )


def counted_tokens(completion: Completion) -> int | None:
    """How many tokens were generated; None where the endpoint does not say."""
    return None if completion.usage is None else completion.usage.completion_tokens


def is_cut(completion: Completion) -> bool:
    """Whether the answer ended for its length."""
    return completion.choice.finish_reason in _CUT


def check_not_filtered(completion: Completion) -> None:
    """Raises `UnusableAnswerError` when the endpoint's content filter withheld the answer."""
    if completion.choice.finish_reason == _FILTERED:
        raise UnusableAnswerError("the endpoint's content filter withheld the answer")


def _shown(token: ChosenToken) -> Iterator[TokenLogprob]:
    # Two tokens may read the same (with and without a space before them), so equal texts are
    # different tokens unless their probabilities are equal too.
    yield from token.top_logprobs
    is_listed = any(
        shown.token == token.token and shown.logprob == token.logprob
        for shown in token.top_logprobs
    )
    if not is_listed:
        yield token


def _mass_of_none(options: Sequence[str]) -> Answer:
    return Answer(option_mass=dict.fromkeys(options, 0.0))
