"""Which lines a batch has: its input read once from end to end, before any of it is judged.

A line that can't be read is a line all the same, whose answer will be an error. What makes the
whole batch fail is two lines of one name: nobody could tell their answers apart.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict

from server.api.json_body import is_unicode, parse_json
from server.batches.durable import replace_file
from server.batches.facts import MAX_CUSTOM_ID_CHARS, Problem, Span
from server.batches.folder import BatchFolder
from server.errors import InvalidBodyError

_BLOCK_BYTES = 1024 * 1024
_MAX_PROBLEMS = 10


class Entry(BaseModel):
    """One line, counted from 1: where it stands in the input, and how its answer is named."""

    model_config = ConfigDict(frozen=True)

    line: int
    custom_id: str
    kind: Literal["request", "picture"]
    offset: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Indexed:
    """How many lines there are, and what is wrong with them together."""

    total: int
    problems: tuple[Problem, ...] = ()


def write_index(folder: BatchFolder, *, max_line_bytes: int) -> Indexed:
    """Write a batch's index; raises `OSError`. Lines over `max_line_bytes` are not looked into."""
    seen: set[bytes] = set()
    problems: list[Problem] = []
    lines: list[bytes] = []
    with folder.input.open("rb") as file:
        for number, (kind, name, offset, size) in enumerate(_parts(folder, file), start=1):
            if kind == "request":
                name = _custom_id(file, offset, size, max_line_bytes)
            entry = Entry(
                line=number,
                custom_id=name or f"line-{number}",
                kind=kind,
                offset=offset,
                bytes=size,
            )
            digest = blake2b(entry.custom_id.encode(), digest_size=16).digest()
            if digest in seen and len(problems) < _MAX_PROBLEMS:
                problems.append(_twice(entry))
            seen.add(digest)
            lines.append(entry.model_dump_json().encode() + b"\n")
    if not problems:
        replace_file(folder.index, b"".join(lines))
    return Indexed(len(lines), tuple(problems))


def read_index(folder: BatchFolder) -> list[Entry]:
    """The lines of an indexed batch; raises `OSError`."""
    with folder.index.open("rb") as file:
        return [Entry.model_validate_json(line) for line in file]


def _twice(entry: Entry) -> Problem:
    return Problem(
        code="duplicate_custom_id",
        message=f"The custom_id {entry.custom_id[:100]!r} names more than one line.",
        param="custom_id",
        line=entry.line,
    )


def _parts(
    folder: BatchFolder, file: IO[bytes]
) -> Iterator[tuple[Literal["request", "picture"], str, int, int]]:
    """Kind, name, offset and bytes of every line that is not blank."""
    with folder.spans.open("rb") as spans:
        for text in spans:
            span = Span.model_validate_json(text)
            if span.kind == "picture":
                yield "picture", span.custom_id, span.offset, span.bytes
                continue
            for offset, size in _line_places(file, span):
                yield "request", "", offset, size


def _line_places(file: IO[bytes], span: Span) -> Iterator[tuple[int, int]]:
    """Offset and bytes of each line; blocks are read anew, since whoever asks reads in between."""
    begin = at = span.offset
    end = span.offset + span.bytes
    is_blank = True
    while at < end:
        file.seek(at)
        block = file.read(min(_BLOCK_BYTES, end - at))
        if not block:
            break
        place = 0
        while (found := block.find(b"\n", place)) >= 0:
            piece = block[place:found]
            is_blank = is_blank and (not piece or piece.isspace())
            if not is_blank:
                yield begin, at + found - begin
            begin, place, is_blank = at + found + 1, found + 1, True
        rest = block[place:]
        is_blank = is_blank and (not rest or rest.isspace())
        at += len(block)
    if not is_blank:
        yield begin, end - begin


def _custom_id(file: IO[bytes], offset: int, size: int, max_line_bytes: int) -> str:
    """The name that a line gives itself; empty where it has none that can be used."""
    if size > max_line_bytes:
        return ""
    file.seek(offset)
    try:
        found = parse_json(file.read(size))
    except InvalidBodyError:
        return ""
    name = found.get("custom_id") if isinstance(found, dict) else None
    if not isinstance(name, str) or len(name) > MAX_CUSTOM_ID_CHARS or not is_unicode(name):
        return ""
    return name


def as_line(value: dict[str, object]) -> bytes:
    """A JSON object as one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
