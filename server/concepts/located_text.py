"""Structured text with line numbers: where in a YAML or JSON file each value stands.

YAML is read by the core rules of version 1.2, under which it is JSON with other punctuation: `off`,
`no` and dates are texts, and only `true` and `false` are truth values. YAML 1.1's guesses would
turn a policy's ``fast_path: off`` into something else than its JSON twin says.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Step = str | int

# Aliases can multiply a small text: bounded, so that a file is refused and not memory filled.
_MAX_NODES = 200_000

_INTEGER = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("null", "bool", "int", "float", "str", "seq", "map", "timestamp", "merge", "value")
)


@dataclass(frozen=True, slots=True)
class LocatedText:
    """A text's `value`, and the line (from 1) of each value in it by its path."""

    value: Any
    lines: Mapping[tuple[Step, ...], int]

    def line_of(self, path: tuple[Step, ...]) -> int | None:
        """The line of the value at `path`, else of the nearest value around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None


def read_yaml(text: str) -> LocatedText:
    """The value of a YAML text, which has to be one document of plain data.

    Raises `ValueError` that names line and problem: bad syntax, a key twice, a tag, a key that is
    no text, or more values than are taken.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        root = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        raise ValueError(f"{where}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ValueError(str(error).replace("\n", " ")) from error
    reader = _Reader()
    value = None if root is None else reader.value(root, ())
    return LocatedText(value, reader.lines)


def lines_of_json(text: str) -> LocatedText:
    """The lines of a JSON text that was found sound; without any where YAML reads it otherwise."""
    try:
        return read_yaml(text)
    except (ValueError, RecursionError):
        return LocatedText(None, {})


class _Reader:
    """Turns a composed tree into plain data and notes where each value began."""

    def __init__(self) -> None:
        self.lines: dict[tuple[Step, ...], int] = {}
        self._nodes = 0

    def value(self, node: Any, path: tuple[Step, ...]) -> Any:
        import yaml

        self._nodes += 1
        line = node.start_mark.line + 1
        if self._nodes > _MAX_NODES:
            raise ValueError(f"line {line}: more than {_MAX_NODES} values")
        if node.tag not in _TAGS:
            raise ValueError(f"line {line}: the tag {node.tag} is not taken")
        self.lines.setdefault(path, line)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, at)) for at, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        return _scalar(node.value) if not node.style else node.value

    def _mapping(self, node: Any, path: tuple[Step, ...]) -> dict[str, Any]:
        import yaml

        record: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ValueError(f"line {line}: a key must be a text")
            key = key_node.value
            if key in record:
                raise ValueError(f"line {line}: the key {key!r} occurs twice in one object")
            # A field is at fault where its name stands, also when its value begins further down.
            self.lines[(*path, key)] = line
            record[key] = self.value(value_node, (*path, key))
        return record


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text
