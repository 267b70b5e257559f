from collections.abc import Sequence

import pytest
from transformers import PreTrainedTokenizerFast

from server.engine.answer_tokens import AnswerTokens
from server.errors import OptionWithoutTokenError


class VocabularyTokenizer:
    """A tokenizer given by its vocabulary; encodes only whole entries, else letter by letter."""

    def __init__(self, vocabulary: dict[str, int], added: dict[str, int] | None = None) -> None:
        self._added = added or {}
        self._vocabulary = vocabulary | self._added

    def get_vocab(self) -> dict[str, int]:
        return self._vocabulary

    def get_added_vocab(self) -> dict[str, int]:
        return self._added

    def encode(self, text: str, *, add_special_tokens: bool) -> Sequence[int]:
        return [self._vocabulary[text]] if text in self._vocabulary else [0] * len(text)


def surfaces(tokenizer: PreTrainedTokenizerFast, ids: tuple[int, ...]) -> set[str]:
    return {tokenizer.decode([token_id]) for token_id in ids}


def test_yes_and_no_are_found_in_every_case_with_and_without_space(
    smollm2_tokenizer: PreTrainedTokenizerFast,
) -> None:
    tokens = AnswerTokens(smollm2_tokenizer)
    assert surfaces(smollm2_tokenizer, tokens.of("yes")) == {"yes", "Yes", " yes", " Yes"}
    assert {"no", "No", "NO", " no", " No", " NO"} == surfaces(smollm2_tokenizer, tokens.of("no"))


def test_a_letter_is_never_the_article(smollm2_tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = AnswerTokens(smollm2_tokenizer)
    assert surfaces(smollm2_tokenizer, tokens.of("A")) == {"A", " A"}


def test_what_is_found_is_what_the_tokenizer_writes(
    smollm2_tokenizer: PreTrainedTokenizerFast,
) -> None:
    tokens = AnswerTokens(smollm2_tokenizer)
    for surface in ("yes", "Yes", " yes", " Yes"):
        (token_id,) = smollm2_tokenizer.encode(surface, add_special_tokens=False)
        assert token_id in tokens.of("yes")


def test_sentencepiece_marks_are_white_space() -> None:
    tokens = AnswerTokens(VocabularyTokenizer({"▁Yes": 5, "Yes": 6, "▁yesterday": 7, "<0x0A>": 8}))
    assert tokens.of("yes") == (5, 6)


def test_punctuation_makes_another_word() -> None:
    tokens = AnswerTokens(VocabularyTokenizer({"yes": 1, "yes.": 2, "(yes": 3, '"yes"': 4}))
    assert tokens.of("yes") == (1,)


def test_added_tokens_are_no_words() -> None:
    tokens = AnswerTokens(VocabularyTokenizer({"A": 1}, added={"yes": 2}))
    with pytest.raises(OptionWithoutTokenError):
        tokens.of("yes")


def test_an_option_of_several_tokens_is_refused_by_name(
    smollm2_tokenizer: PreTrainedTokenizerFast,
) -> None:
    tokens = AnswerTokens(smollm2_tokenizer)
    with pytest.raises(OptionWithoutTokenError) as caught:
        tokens.of("undecidedly")
    assert caught.value.option == "undecidedly"


def test_options_that_share_a_token_are_refused(
    smollm2_tokenizer: PreTrainedTokenizerFast,
) -> None:
    with pytest.raises(ValueError, match="can't tell apart"):
        AnswerTokens(smollm2_tokenizer).of_all(("yes", "Yes"))


def test_options_outside_ascii_are_found_by_encoding() -> None:
    # Byte-level vocabularies write "não" as "nÃ£o"; only encoding finds it.
    class ByteLevel(VocabularyTokenizer):
        def encode(self, text: str, *, add_special_tokens: bool) -> Sequence[int]:
            return [9] if text == "não" else [1, 2]

    assert AnswerTokens(ByteLevel({"nÃ£o": 9})).of("não") == (9,)
