import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.api.json_body import MAX_STRUCTURE, is_unicode, parse_json
from server.errors import InvalidBodyError

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_whatever_is_json_is_read(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_an_error(body: bytes) -> None:
    with contextlib.suppress(InvalidBodyError):
        parse_json(body)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "it is not JSON"),
        (b"{", "it is not JSON"),
        (b"{'a': 1}", "it is not JSON"),
        (b'{"a": 1,}', "it is not JSON"),
        (b"\xef\xbb\xbf{}", "it is not JSON"),
        (b"{} {}", "it is not JSON"),
        (b'"\x01"', "it is not JSON"),
        ('{"a": 1}'.encode("utf-16"), "it is not UTF-8"),
        (b'"\xff"', "it is not UTF-8"),
        (b'"\xed\xa0\x80"', "it is not UTF-8"),
        (b"NaN", "NaN is not JSON"),
        (b'{"a": [-Infinity]}', "-Infinity is not JSON"),
        (b"1e999", "it has a number out of range"),
        (b"9" * 5_000, "it has a number out of range"),
        (b'{"a": 1, "a": 2}', "an object has the same key twice"),
        (b'{"a": {"b": 1, "\\u0062": 2}}', "an object has the same key twice"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b'{"a":' * 100_000, "it is nested too deeply"),
        (b"[" + b"1," * MAX_STRUCTURE, "it has too many values"),
        (b"[]" * (MAX_STRUCTURE + 1), "it has too many values"),
    ],
)
def test_what_is_no_json_says_why(body: bytes, problem: str) -> None:
    with pytest.raises(InvalidBodyError) as raised:
        parse_json(body)
    assert raised.value.problem.startswith(problem)


def test_half_a_surrogate_pair_is_no_unicode() -> None:
    assert is_unicode("plain")
    assert is_unicode("\u00fc\U0001f600")
    assert not is_unicode("\ud800")
