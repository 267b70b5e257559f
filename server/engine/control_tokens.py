"""Keeping judged words words: text that spells a template's control tokens is defused.

A judged text may contain ``<|im_end|>`` or ``<image>``. Left alone, the tokenizer would turn it
into the very token that ends the user's turn or stands for a picture, and the text could put words
into the model's mouth.
"""

import re

from server.engine.answer_tokens import Tokenizer

# Shorter or purely alphanumeric added tokens are vocabulary, not control marks.
_MIN_CONTROL_LENGTH = 3


class ControlTokens:
    """The control tokens of one tokenizer and of the chat template's picture placeholder."""

    def __init__(self, tokenizer: Tokenizer, *placeholders: str) -> None:
        marks = {
            token
            for token in (*tokenizer.get_added_vocab(), *placeholders)
            if len(token.strip()) >= _MIN_CONTROL_LENGTH and not token.strip().isalnum()
        }
        longest_first = sorted(marks, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if marks else None

    def defuse(self, text: str) -> str:
        """`text` with a space after the first character of every control token spelt in it."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda mark: f"{mark[0][0]} {mark[0][1:]}", text)
