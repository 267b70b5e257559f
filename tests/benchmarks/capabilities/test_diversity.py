import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu import sentence_bleu

from benchmarks.capabilities.diversity import diversity_of, self_bleu
from benchmarks.capabilities.schema import AnswerRow

Row = Callable[..., AnswerRow]

ANSWERS = (
    "No, this image is not safe for social media.",
    "No, this image is not safe. It shows arson, which is harmful.",
    "Yes, the image shows a cup on a table , on a table , on a table.",
    "no",
    "The image shows a burning house & two people.",
    "No",
    "Yes , it is .",
)


def by_sacrebleu(texts: list[str]) -> float:
    scores = [
        sentence_bleu(
            text,
            [*texts[:index], *texts[index + 1 :]],
            smooth_method="floor",
            smooth_value=0.1,
            tokenize="none",
            use_effective_order=True,
        ).score
        for index, text in enumerate(texts)
    ]
    return math.fsum(scores) / len(scores) / 100


def test_it_is_the_mean_of_sacrebleus_bleu_against_all_others() -> None:
    assert self_bleu(ANSWERS) == pytest.approx(by_sacrebleu(list(ANSWERS)))


@given(
    st.lists(
        st.lists(st.sampled_from("abcd"), min_size=1, max_size=9).map(" ".join),
        min_size=2,
        max_size=8,
    )
)
def test_it_is_sacrebleus_for_any_words(texts: list[str]) -> None:
    assert self_bleu(texts) == pytest.approx(by_sacrebleu(texts))


def test_it_is_s1s_number_for_answers_of_four_words_and_more() -> None:
    # BLEU as nltk computes it, with 0.1 matches where an order has none: "a b c d" has 2 words of
    # 4 in common with "a b x y", 1 pair of 3, no longer n-gram; the same the other way round.
    expected = (2 / 4 * 1 / 3 * 0.1 / 2 * 0.1 / 1) ** 0.25

    assert self_bleu(["a b c d", "a b x y"]) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["no", "No, it is not.", "a b c d e f g a b c d"])
def test_equal_answers_have_no_diversity(text: str) -> None:
    assert self_bleu([text] * 3) == pytest.approx(1.0)


def test_answers_with_no_word_in_common_repeat_nothing() -> None:
    assert self_bleu(["a b c d e", "f g h i j"]) == 0.0


def test_a_repeated_word_is_clipped_at_what_another_answer_has() -> None:
    # "a" counts twice at most: 2 of 3 words, 1 of 2 pairs, no triple; the other way all match but
    # the answer is shorter: exp(1 - 3 / 2).
    longer = (2 / 3 * 1 / 2 * 0.1 / 1) ** (1 / 3)
    shorter = math.exp(1 - 3 / 2)

    assert self_bleu(["a a a", "a a"]) == pytest.approx((longer + shorter) / 2)


@given(st.permutations(ANSWERS))
def test_the_order_of_answers_does_not_matter(texts: list[str]) -> None:
    assert self_bleu(texts) == pytest.approx(self_bleu(ANSWERS))


@pytest.mark.parametrize("texts", [[], ["one answer"], ["one answer", "  "]])
def test_fewer_than_two_answers_have_none(texts: list[str]) -> None:
    assert self_bleu(texts) is None


def written(answer_row: Row, subject: str, text: str | None, **fields: object) -> AnswerRow:
    parts: dict[str, object] = {"tokens": 10, "is_complete": True} | fields
    return answer_row(subject, mode="written", text=text, **parts)


def test_lengths_and_completeness_by_hand(answer_row: Row) -> None:
    rows = [
        written(answer_row, "p1", "No , it is not .", tokens=6),
        written(answer_row, "p2", "No , it is not .", tokens=10),
        written(answer_row, "p3", "I can not say .", tokens=512, is_complete=False, score=None),
        written(answer_row, "p4", "", tokens=1, outcome="no answer"),
        written(answer_row, "p5", None, tokens=None, is_complete=None, outcome="no answer"),
        written(answer_row, "p6", "A", kind="lettered", right="A", outcome="A"),
        written(answer_row, "p7", "Elsewhere .", suite="context"),
        answer_row("p8", text="One token."),
    ]
    found = diversity_of(rows, suite="alignment")

    assert found is not None
    assert found.answers == 3
    assert found.mean_tokens == pytest.approx((6 + 10 + 512) / 3)
    # A tenth of the way from the second to the third is missing: linear between order statistics.
    assert found.p95_tokens == pytest.approx(10 + 0.9 * 502)
    assert found.share_complete == pytest.approx(2 / 3)
    expected = 1 - by_sacrebleu(["No , it is not ."] * 2 + ["I can not say ."])
    assert found.one_minus_self_bleu == pytest.approx(expected)


def test_one_answer_has_lengths_and_no_diversity(answer_row: Row) -> None:
    found = diversity_of([written(answer_row, "p1", "No.")], suite="alignment")

    assert found is not None
    assert (found.one_minus_self_bleu, found.mean_tokens) == (None, 10)


def test_nothing_written_has_no_diversity(answer_row: Row) -> None:
    assert diversity_of([answer_row("p1")], suite="alignment") is None
    assert diversity_of([written(answer_row, "p1", " ")], suite="alignment") is None
