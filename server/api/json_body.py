"""JSON as it is specified, and no more: what Python's parser adds or tolerates is refused.

Two readers that disagree about a body are a hole in moderation: a second `input` key, a NaN, half a
surrogate pair. The number of values is bounded before parsing, since a body of brackets grows
thirtyfold in memory.
"""

import json
import math
from typing import Any, Never

from server.errors import InvalidBodyError

MAX_STRUCTURE = 1_000_000
"""Commas and opening brackets in one body, those inside of strings included."""


def parse_json(body: bytes) -> object:
    """The value that `body` holds; raises `InvalidBodyError`."""
    if sum(body.count(mark) for mark in (b",", b"[", b"{")) > MAX_STRUCTURE:
        raise InvalidBodyError("it has too many values")
    try:
        return json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_number,
        )
    except UnicodeDecodeError as error:
        raise InvalidBodyError("it is not UTF-8") from error
    except RecursionError as error:
        raise InvalidBodyError("it is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise InvalidBodyError(
            f"it is not JSON (line {error.lineno}, column {error.colno})"
        ) from error
    except ValueError as error:
        # Python refuses integers of more digits than it converts quickly.
        raise InvalidBodyError("it has a number out of range") from error


def is_unicode(text: str) -> bool:
    """Whether `text` has an encoding; JSON's escapes can spell half a surrogate pair."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InvalidBodyError("an object has the same key twice")
    return found


def _constant(name: str) -> Never:
    raise InvalidBodyError(f"{name} is not JSON")


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise InvalidBodyError("it has a number out of range")
    return number
