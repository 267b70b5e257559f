"""How varied written answers are: 1 - Self-BLEU, after S1 and Texygen (Zhu et al. 2018).

Self-BLEU is the mean over answers of BLEU-4 of each against all others as references. As S1's
public code does it with nltk: words are what white space separates, case counts, n-grams are
clipped at the most that any one reference has, the brevity penalty takes the reference of the
closest length (the shorter of two), and an order without a match counts as 0.1 matches. There is
one difference: orders longer than the answer itself are left out. With them, identical answers of
one word would have a Self-BLEU of 0.18 and look varied, where ours gives 1. Answers of four words
and more get S1's number. sacrebleu calls the same definition ``tokenize="none"``,
``smooth_method="floor"``, ``smooth_value=0.1``, ``use_effective_order=True``.

Figures can be compared within one definition alone, and among samples of like size: with more
references more n-grams are found, so 1 - Self-BLEU falls as answers are added.

The cost is linear in the words: for every n-gram the two highest counts are kept, and the second
holds for the answer that has the first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.capabilities.schema import AnswerRow, Diversity
from benchmarks.capabilities.tasks import Suite

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]

_ORDERS = 4
_SMOOTHING = 0.1


def diversity_of(rows: Sequence[AnswerRow], *, suite: Suite) -> Diversity | None:
    """Of one suite's written answers to judged and open questions; None when there are none.

    An empty answer has nothing to compare and is counted as "no answer" elsewhere; a refusal in
    words is an answer here. Letters are not: they are meant to be alike.
    """
    answers = [
        row
        for row in rows
        if row.suite == suite
        and row.mode == "written"
        and row.kind in ("judged", "open")
        and row.text is not None
        and row.text.strip()
        and row.tokens is not None
    ]
    if not answers:
        return None
    tokens = [row.tokens for row in answers if row.tokens is not None]
    repeated = self_bleu([row.text for row in answers if row.text is not None])
    return Diversity(
        suite=suite,
        answers=len(answers),
        one_minus_self_bleu=None if repeated is None else 1.0 - repeated,
        mean_tokens=sum(tokens) / len(tokens),
        p95_tokens=float(np.percentile(tokens, 95)),
        share_complete=sum(row.is_complete is True for row in answers) / len(answers),
    )


def self_bleu(texts: Sequence[str]) -> float | None:
    """Mean BLEU-4 in [0, 1] of each text against all others; None of fewer than two.

    Texts without a word are left out.
    """
    words = [text.split() for text in texts if text.strip()]
    if len(words) < 2:
        return None
    lengths = np.array([len(one) for one in words], dtype=np.int64)
    log_precision = np.zeros(len(words))
    orders = np.minimum(lengths, _ORDERS)
    has_match = np.zeros(len(words), dtype=np.bool_)
    for order, grams in enumerate(_ngrams(words, lengths), start=1):
        matched = grams.clipped_matches(len(words))
        if order == 1:
            has_match = matched > 0
        total = np.maximum(lengths - order + 1, 1)
        precision = np.where(matched > 0, matched, _SMOOTHING) / total
        log_precision += np.where(order <= orders, np.log(precision), 0.0) / orders
    bleu = _brevity_penalty(lengths) * np.exp(log_precision)
    return float(np.where(has_match, bleu, 0.0).mean())


@dataclass(frozen=True, slots=True)
class _Grams:
    """All n-grams of one order: which answer each stands in, and its number."""

    answer: _Ints
    gram: _Ints

    def clipped_matches(self, answers: int) -> _Ints:
        """For every answer, its n-grams counted up to the most that one other answer has."""
        width = int(self.gram.max(initial=0)) + 1
        pairs, count = np.unique(self.answer * width + self.gram, return_counts=True)
        answer, gram = pairs // width, pairs % width
        # Of each n-gram the highest count comes first, then the second.
        order = np.lexsort((answer, -count, gram))
        answer, gram, count = answer[order], gram[order], count[order]
        first = np.flatnonzero(np.diff(gram, prepend=-1))
        number = np.cumsum(np.diff(gram, prepend=-1) != 0) - 1
        second = np.where(
            np.diff(first, append=gram.size) > 1,
            count[np.minimum(first + 1, gram.size - 1)] if gram.size else 0,
            0,
        )
        highest = count[first][number]
        limit = np.where(answer == answer[first][number], second[number], highest)
        return np.bincount(answer, weights=np.minimum(count, limit), minlength=answers).astype(
            np.int64
        )


def _ngrams(words: Sequence[Sequence[str]], lengths: _Ints) -> Iterator[_Grams]:
    """The n-grams of orders 1 to 4; one of order n is numbered by its first n - 1 words' and last.

    Each order is built on the one before, so no tuple of words is ever made.
    """
    vocabulary: dict[str, int] = {}
    word = np.array(
        [vocabulary.setdefault(one, len(vocabulary)) for answer in words for one in answer],
        dtype=np.int64,
    )
    answer = np.repeat(np.arange(len(words), dtype=np.int64), lengths)
    gram, starts = word, np.arange(word.size)
    yield _Grams(answer, gram)
    for order in range(2, _ORDERS + 1):
        # A gram goes on where the word after it belongs to the same answer.
        last = starts + order - 1
        inside = last < word.size
        inside[inside] = answer[starts[inside]] == answer[last[inside]]
        starts, last = starts[inside], last[inside]
        _, gram = np.unique(gram[inside] * len(vocabulary) + word[last], return_inverse=True)
        yield _Grams(answer[starts], gram.astype(np.int64))


def _brevity_penalty(lengths: _Ints) -> _Floats:
    """For every answer, against the closest length among the others (the shorter of two)."""
    distinct, times = np.unique(lengths, return_counts=True)
    at = np.searchsorted(distinct, lengths)
    below = np.concatenate([[np.iinfo(np.int64).min // 2], distinct[:-1]])[at]
    above = np.concatenate([distinct[1:], [np.iinfo(np.int64).max // 2]])[at]
    nearest = np.where(lengths - below <= above - lengths, below, above)
    closest = np.where(times[at] > 1, lengths, nearest)
    penalty: _Floats = np.exp(np.minimum(0.0, 1.0 - closest / lengths))
    return penalty
