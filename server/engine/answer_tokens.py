"""Which tokens say "yes", "no" or "B": an option's single-token spellings in any tokenizer.

A verdict is read from the first token alone, so an option must be sayable in one token. Tokenizers
spell the same word several ways (``yes``, ``Yes``, ``YES``, each with a space before it), and a
model's probability is spread over them: all are found and their probabilities summed.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from server.errors import OptionWithoutTokenError

# How byte-level BPE and SentencePiece vocabularies write a leading space or line break.
_WHITESPACE_MARKS = "Ġ▁Ċ \n\t"


class Tokenizer(Protocol):
    """What is asked of a tokenizer; every Hugging Face and vLLM tokenizer has it."""

    def get_vocab(self) -> dict[str, int]:
        """Every token as the vocabulary writes it, with its id."""
        ...

    def get_added_vocab(self) -> dict[str, int]:
        """Tokens added beside the vocabulary proper: chat marks, placeholders, reserved rows."""
        ...

    def encode(self, text: str, *, add_special_tokens: bool) -> Sequence[int]:
        """`text` in token ids."""
        ...


class AnswerTokens:
    """Finds and keeps the token ids of answer options for one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids_by_spelling = _ids_by_spelling(tokenizer)

    def of(self, option: str) -> tuple[int, ...]:
        """The ids of every single token that says `option`, ascending.

        A word counts in any case. A single letter counts only as written: a lower-case "a" is an
        article, not option A. Raises `OptionWithoutTokenError` when there is no such token.
        """
        ids = set(self._ids_by_spelling.get(spoken_by(option), ()))
        if not option.isascii():
            # Byte-level vocabularies write non-ASCII letters as other characters; ask by encoding.
            ids.update(self._encoded_ids(option))
        if not ids:
            raise OptionWithoutTokenError(option)
        return tuple(sorted(ids))

    def of_all(self, options: Iterable[str]) -> Mapping[str, tuple[int, ...]]:
        """The ids of each option. Raises `ValueError` when two options share a token."""
        ids_by_option = {option: self.of(option) for option in options}
        all_ids = [token_id for ids in ids_by_option.values() for token_id in ids]
        if len(set(all_ids)) < len(all_ids):
            raise ValueError(f"options that one token can't tell apart: {list(ids_by_option)}")
        return ids_by_option

    def _encoded_ids(self, option: str) -> set[int]:
        found = set()
        for word in {option, option.lower(), option.upper(), option.capitalize()}:
            for surface in (word, " " + word):
                ids = self._tokenizer.encode(surface, add_special_tokens=False)
                if len(ids) == 1:
                    found.add(ids[0])
        return found


def spoken_by(token: str) -> str:
    """What a token says: an option and every token that says it have the same.

    Leading white space is set aside. A word counts in any case, a single letter only as written.
    """
    word = token.lstrip(_WHITESPACE_MARKS)
    return word if len(word) == 1 else word.casefold()


def _ids_by_spelling(tokenizer: Tokenizer) -> dict[str, list[int]]:
    """The whole vocabulary by what each token says once leading white space is set aside."""
    # Added tokens are marks of the template or reserved rows, never an answer in words.
    added = set(tokenizer.get_added_vocab().values())
    ids: dict[str, list[int]] = {}
    for token, token_id in tokenizer.get_vocab().items():
        if token_id not in added:
            ids.setdefault(spoken_by(token), []).append(token_id)
    return ids
