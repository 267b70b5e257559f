"""Reads the JSON that general benchmarks keep their questions in, checked field by field."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.capabilities.general.sources import Source

Fields = Mapping[str, Any]


def read_object(source: Source, path: Path) -> Fields:
    """A file that is one JSON object; raises `MeasurementError` for anything else."""
    parsed = _parsed(source, source.text(path), path.name)
    if not isinstance(parsed, dict):
        raise source.error(f"{path.name} is no JSON object")
    return parsed


def read_lines(source: Source, path: Path) -> Iterator[Fields]:
    """A file with one JSON object a line; raises `MeasurementError` at the first that is none."""
    for number, line in enumerate(source.text(path).splitlines(), start=1):
        if line.strip():
            parsed = _parsed(source, line, f"{path.name}, line {number}")
            if not isinstance(parsed, dict):
                raise source.error(f"{path.name}, line {number} is no JSON object")
            yield parsed


def text_field(source: Source, fields: Fields, name: str, place: str) -> str:
    """A field that must hold words; raises `MeasurementError` naming the `place` that lacks it."""
    value = fields.get(name)
    if not isinstance(value, str | int) or not str(value).strip():
        raise source.error(f"{place} has no {name!r}")
    return str(value)


def _parsed(source: Source, text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise source.error(f"{place} is not JSON") from error
