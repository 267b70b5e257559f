"""Reads the JSON and YAML files that define concepts (taxonomy, probes, policy, calibration).

A file is either wholly valid or refused with path and line of every bad field: a probe or threshold
that was silently ignored would change verdicts without anyone noticing. A version is a readable
revision plus a hash of the content, so an edit that forgets the revision still shows.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Never, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.concepts.located_text import LocatedText, lines_of_json, read_yaml
from server.errors import DataFileError

VERSION_HASH_CHARS = 8
YAML_SUFFIXES = frozenset({".yaml", ".yml"})


class FrozenRecord(BaseModel):
    """Base of every record in a data file: immutable, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class VersionedRecord(FrozenRecord):
    """A record whose `version` changes with any of its content."""

    revision: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]{0,31}$")

    @property
    def version(self) -> str:
        """``{revision}-{first 8 hex digits of the SHA-256 of what defines the record}``."""
        canonical = json.dumps(self.versioned_content(), sort_keys=True, ensure_ascii=False)
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        return f"{self.revision}-{digest[:VERSION_HASH_CHARS]}"

    def versioned_content(self) -> dict[str, Any]:
        """What the hash covers: everything, unless a subclass leaves out what changes no answer."""
        return self.model_dump(mode="json")


RecordT = TypeVar("RecordT", bound=BaseModel)


def read_data_file(path: Path, record: type[RecordT]) -> RecordT:
    """Read and check the file at `path`: YAML if its name says so, else JSON.

    Raises `DataFileError` with one problem a bad field, as ``field.path: what is wrong (line 7)``.
    """
    try:
        raw = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataFileError(path, (f"can't be read: {error}",)) from error
    is_yaml = path.suffix.lower() in YAML_SUFFIXES
    located: LocatedText | None = None
    try:
        if is_yaml:
            located = read_yaml(raw)
            checked = json.dumps(located.value, allow_nan=False)
        else:
            json.loads(raw, object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant)
            checked = raw
        return record.model_validate_json(checked, strict=True)
    except ValidationError as error:
        located = lines_of_json(raw) if located is None else located
        problems = tuple(
            _problem(detail["loc"], detail["msg"], located)
            for detail in error.errors(include_url=False, include_input=False)
        )
        raise DataFileError(path, problems) from error
    except (ValueError, RecursionError) as error:
        language = "YAML" if is_yaml else "JSON"
        raise DataFileError(path, (f"(file): not valid {language}: {error}",)) from error


def _problem(location: tuple[str | int, ...], message: str, located: LocatedText) -> str:
    field = ".".join(str(step) for step in location) or "(file)"
    line = located.line_of(location)
    return f"{field}: {message}" + ("" if line is None else f" (line {line})")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets a key occur twice and keeps the last: two thresholds, one of them ignored."""
    record: dict[str, Any] = {}
    for key, value in pairs:
        if key in record:
            raise ValueError(f"the key {key!r} occurs twice in one object")
        record[key] = value
    return record


def _refuse_constant(name: str) -> Never:
    """Python's parser takes NaN and Infinity, which JSON does not have."""
    raise ValueError(f"{name} is not JSON")
