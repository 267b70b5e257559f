"""A replay's record as reports and comparisons read it."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.errors import MeasurementError
from benchmarks.records import DataOrigin
from benchmarks.replay.rows import Row

KIND = "replay"


class ReplayRecord(BaseModel):
    """The file's content, checked."""

    model_config = ConfigDict(protected_namespaces=(), frozen=True)

    benchmark: Literal["replay"]
    created: str
    commit: str | None
    config: dict[str, Any]
    data: DataOrigin
    model_version: str
    packages: dict[str, str]
    hardware: dict[str, Any]
    figures: dict[str, Any]
    measurements: list[Row]


def read_replay(path: Path) -> ReplayRecord:
    """Raises `MeasurementError` for a file that is no such record."""
    try:
        record = ReplayRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise MeasurementError(f"{path} can't be read: {error}") from error
    except ValidationError as error:
        raise MeasurementError(f"{path} is no record of a replay") from error
    if not record.measurements:
        raise MeasurementError(f"{path} holds no requests")
    return record


def is_replay(path: Path) -> bool:
    """Whether the file says that it is a replay's record; what else it may be, others tell."""
    if not path.is_file():
        return False
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("benchmark") == KIND
