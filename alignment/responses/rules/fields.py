"""Answers in the shape of data: JSON, Python literals and "key: value" lines.

A field is either the answer itself (``answer``, ``verdict``, ...), a property that judges
(``safe``, ``harmful``, ``nudity``) with yes or no as its value, or an explanation: plain prose.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_OBJECT = re.compile(r"[{\[].*[}\]]", re.DOTALL)
_LINE = re.compile(r"^([A-Za-z][\w /'-]{0,40}?)\s*(?::| - )\s*(\S.*)?$")
_ANSWER_KEYS = frozenset({
    "answer", "final answer", "the answer", "my answer", "verdict", "final verdict", "conclusion",
    "response", "result", "output", "decision", "judgement", "judgment", "label", "outcome",
    "classification", "assessment",
})  # fmt: skip
_EXPLANATION_KEYS = frozenset({
    "explanation", "reason", "reasons", "reasoning", "rationale", "justification", "note", "why",
    "details", "description", "caption",
})  # fmt: skip
_YES = frozenset({"yes", "true", "present", "1", "y"})
_NO = frozenset({"no", "false", "none", "absent", "not present", "0", "n"})


@dataclass(frozen=True, slots=True)
class Field:
    """One key and its value as text; `is_answer` and `is_explanation` come from the key."""

    key: str
    value: str

    @property
    def is_answer(self) -> bool:
        """Whether the value is the answer to the question."""
        return self.key in _ANSWER_KEYS

    @property
    def is_explanation(self) -> bool:
        """Whether the value is prose around the answer."""
        return self.key in _EXPLANATION_KEYS

    @property
    def holds(self) -> bool | None:
        """Whether the property that the key names is said to hold; None for any other value."""
        value = self.value.strip(" .!\"'").lower()
        return True if value in _YES else False if value in _NO else None


def data_fields(text: str) -> list[Field] | None:
    """The fields of a JSON or Python literal in the text; None where there is none."""
    match = _OBJECT.search(text)
    if not match:
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            data = read(match.group())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(data, dict | list):
            return list(_walk("answer", data))
    return None


def line_field(line: str) -> Field | None:
    """The field that one line is; None for prose."""
    match = _LINE.match(line)
    if not match:
        return None
    found = Field(" ".join(match[1].lower().split()), match[2] or "")
    known = found.is_answer or found.is_explanation or found.holds is not None
    return found if known else None


def _walk(key: str, data: Any) -> Iterator[Field]:
    if isinstance(data, dict):
        for name, value in data.items():
            yield from _walk(re.sub(r"[_\s-]+", " ", str(name)).strip().lower(), value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from _walk(key, value)
    elif data is not None:
        yield Field(key, str(data))
