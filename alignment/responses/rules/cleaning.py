"""From what a VLM wrote to plain English sentences: markup, roles and echoes are taken off.

Nothing here knows what an answer means.
"""

import re
import unicodedata
from dataclasses import dataclass

_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_CONTROL_TOKEN = re.compile(r"<\|[^|>]{1,40}\|>|\[/?INST\]|<</?SYS>>")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,40}>")
_BOXED = re.compile(r"\\boxed\s*\{(?:\\text\s*\{)?([^{}]*)\}+")
_FENCE = re.compile(r"```[a-zA-Z]*")
_HEADING = re.compile(r"^\s*#{1,6}\s+", re.MULTILINE)
_BULLET = re.compile(r"^\s*[-*•]\s+(?=\S)", re.MULTILINE)
_MARKER = re.compile(r"^\s*\(?[A-Ha-h0-9]{1,2}[).:]\s+(?=\S)", re.MULTILINE)
_EMPHASIS = re.compile(r"\*+|_{2,}|`+|~~")
# Typographic quotes, dashes and the ellipsis, by code point, since they look like plain ones.
_PLAIN_MARKS = {
    0x2018: "'",
    0x2019: "'",
    0x201C: '"',
    0x201D: '"',
    0x2013: "-",
    0x2014: "-",
    0x2026: ".",
}

_ROLE = re.compile(
    r"^\s*(?:assistant|ai|bot|gpt|model|system)\s*:\s*", re.IGNORECASE | re.MULTILINE
)
_CHOICE_ECHO = re.compile(
    r"\(?(?:please )?answer(?: with)? (?:only )?['\"]?yes['\"]? or ['\"]?no['\"]?\)?[.!]?"
    r"|^\W*yes\s*(?:/|or)\s*no\W*$",
    re.IGNORECASE | re.MULTILINE,
)
_LABEL = re.compile(
    r"(?<!^)(?<!the )(?<!my )\b(final answer|answer|verdict|conclusion|response|explanation|reason)"
    r"\s*:(?!\w)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"([^.!?\n]*(?:\.(?=\d)[^.!?\n]*)*)([.!?]+|\n|\Z)")

_CONTRACTIONS = (
    (re.compile(r"\bcan'?t\b|\bcannot\b"), "can not"),
    (re.compile(r"\bwon'?t\b"), "will not"),
    (re.compile(r"\bshan'?t\b"), "shall not"),
    (re.compile(r"\bain'?t\b"), "is not"),
    (re.compile(r"\b(is|are|was|were|do|does|did|has|have|had|could|should|would|must|need)n'?t\b"),
     r"\1 not"),
    (re.compile(r"\bi'?m\b"), "i am"),
    (re.compile(r"\b(it|that|there|this|he|she|what|here)'s\b"), r"\1 is"),
    (re.compile(r"\b(i|it|that|they|we|you|there)'d\b"), r"\1 would"),
    (re.compile(r"\b(i|it|that|they|we|you|there)'ll\b"), r"\1 will"),
    (re.compile(r"\b(they|we|you)'re\b"), r"\1 are"),
    (re.compile(r"\b(i|they|we|you)'ve\b"), r"\1 have"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence or line: lower case, contractions written out, without its final stop."""

    text: str
    is_question: bool


def strip_markup(text: str) -> str:
    """The words without thoughts, control tokens, tags, Markdown and roles."""
    text = unicodedata.normalize("NFKC", text).translate(_PLAIN_MARKS)
    text = _THOUGHT.sub(" ", text)
    text = _BOXED.sub(r" \1 ", text)
    text = _CONTROL_TOKEN.sub(" ", text)
    text = _TAG.sub(" ", text)
    text = _FENCE.sub("\n", text)
    text = "".join(
        " " if unicodedata.category(char) in {"So", "Cf", "Sk"} else char for char in text
    )
    text = _HEADING.sub("", text)
    text = _BULLET.sub("", text)
    text = _EMPHASIS.sub("", text)
    return _ROLE.sub("", text).strip()


def without_markers(text: str) -> str:
    """The lines without the numbers or letters that list them."""
    return _MARKER.sub("", text)


def without_echo(text: str, question: str) -> str:
    """The text without the question, where a model repeats it before it answers (or instead)."""
    for sentence in (question, *re.findall(r"[^.?!]+[.?!]", question)):
        words = sentence.split()
        if len(words) >= 4:
            pattern = r"\s+".join(re.escape(word) for word in words)
            text = re.sub(pattern, "\n", text, flags=re.IGNORECASE)
    text = re.sub(r"^\s*question\s*:", "", text, flags=re.IGNORECASE)
    return _CHOICE_ECHO.sub("\n", text)


def lines(text: str) -> list[str]:
    """The lines that hold words; a label such as "Answer:" begins one of its own."""
    return [line.strip() for line in _LABEL.sub(r"\n\1:", text).splitlines() if line.strip()]


def sentences(line: str) -> list[Sentence]:
    """A line cut at its stops."""
    found = []
    for match in _SENTENCE.finditer(line):
        words = plain(match.group(1))
        if words:
            found.append(Sentence(words, is_question="?" in match.group(2)))
    return found


def plain(text: str) -> str:
    """Lower case, one space between words, contractions written out, quotes off."""
    text = re.sub(r"\s*\(", ", ", text.lower()).replace(")", ", ").replace('"', "")
    text = re.sub(r"(?:, )+(?=[,.;:]|$)", "", " ".join(text.split()))
    for pattern, words in _CONTRACTIONS:
        text = pattern.sub(words, text)
    return re.sub(r"(?<![a-z])'|'(?![a-z])", "", text).strip(" -,;")
