"""How much a written answer says, and how unlike the other answers it is.

[S1] keeps answers from shrinking to "No." by paying for length, which also pays for repetition and
rambling. Here only new content counts: words that are neither in the question nor empty, each once,
up to a limit. Unlikeness follows the measure that answers are judged by in the end, 1 - Self-BLEU,
but by pairs of words and without a brevity penalty.

Words are told apart by spelling alone and the empty ones are English. A heap of unrelated words
would score well: what keeps answers sentences is the KL penalty, not this.
"""

import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"[.!?\n]+")


def _words(text: str) -> list[str]:
    return [word.replace("\u2019", "'") for word in _WORD.findall(text.lower())]


_FUNCTION_WORDS = """
    a about above after again against all also although am an and any are as at be because been
    before being below between both but by can could did do does doing down during each either
    else ever every few for from further had has have having he her here hers him his how however
    i if in into is it its itself just let many may me might more most much must my neither no
    nor not of off on once one only or other our out over own per rather same shall she should
    since so some such than that the their them then there therefore these they this those though
    through thus to too under until up upon us very was we well were what when where whether
    which while who whom whose why will with within without would yes yet you your don't doesn't
    isn't aren't wasn't weren't can't cannot couldn't shouldn't wouldn't won't it's that's there's
    anybody anyone anything everybody everyone everything nobody none nothing somebody someone
    something
"""
_WORDS_FOR_ANY_PICTURE = """
    appear appears contain contains content depict depicted depicting depicts display displays
    feature features image images include includes photo photograph picture pictures present
    scene seem seems show showing shown shows
"""
# The response classifier reads these and the refusals.
_VERDICTS = """
    acceptable answer appropriate considered harmful harmless inappropriate offensive safe
    suitable unacceptable unsafe unsuitable
"""
_REFUSALS = """
    apologise apologize assist help i'm request sorry unable
"""
_EMPTY_WORDS = frozenset(_words(_FUNCTION_WORDS + _WORDS_FOR_ANY_PICTURE + _VERDICTS + _REFUSALS))


def content_words(text: str, question: str) -> frozenset[str]:
    """The distinct words of `text`, in lower case, that say something the `question` didn't."""
    return frozenset(_words(text)) - frozenset(_words(question)) - _EMPTY_WORDS


def informativeness(text: str, question: str, *, enough: int = 8) -> float:
    """From 0 (nothing new) to 1 (`enough` distinct content words or more).

    A count, not a share: a share would prefer "Fire." to a sentence about the fire.
    """
    return min(len(content_words(text, question)) / enough, 1.0)


def novelties(texts: Sequence[str]) -> list[float]:
    """How unlike the others each text is: from 0 (all say the same) to 1 (nothing in common).

    For each distinct pair of neighbouring words within a sentence, the share of other texts that
    don't have it; averaged over the text's pairs. A share, so that the size of the batch doesn't
    change the scale. A text without a word is not novel; a text without others is.
    """
    pairs = [_neighbours(text) for text in texts]
    held_by = Counter(pair for distinct in pairs for pair in distinct)
    others = max(len(texts) - 1, 1)
    return [
        1.0 - sum(held_by[pair] - 1 for pair in distinct) / (others * len(distinct))
        if distinct
        else 0.0
        for distinct in pairs
    ]


def _neighbours(text: str) -> frozenset[tuple[str, str]]:
    """Distinct pairs of words; the first word of a sentence follows an empty one."""
    sentences = (_words(sentence) for sentence in _SENTENCE_END.split(text))
    return frozenset(pair for words in sentences for pair in zip(["", *words], words, strict=False))
