"""Slips of spelling in the words that judge, as small models make them."""

import re

_SPELT = (
    "suitable", "unsuitable", "appropriate", "inappropriate", "acceptable", "unacceptable",
    "harmful", "harmless", "offensive", "allowed", "prohibited",
)  # fmt: skip


def spell(text: str) -> str:
    """The text with one-letter slips in the longest judging words put right."""
    return re.sub(r"[a-z]{6,}", lambda match: _spelt(match.group()), text)


def _spelt(word: str) -> str:
    if word in _SPELT:
        return word
    return next((right for right in _SPELT if _is_one_slip(word, right)), word)


def _is_one_slip(word: str, right: str) -> bool:
    """Whether one letter is missing, too many or wrong."""
    if abs(len(word) - len(right)) > 1 or word[0] != right[0]:
        return False
    start = 0
    while start < min(len(word), len(right)) and word[start] == right[start]:
        start += 1
    tails = {(word[start + 1 :], right[start:]), (word[start:], right[start + 1 :])}
    tails.add((word[start + 1 :], right[start + 1 :]))
    return any(left == other for left, other in tails)
