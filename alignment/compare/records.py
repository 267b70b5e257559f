"""What a comparison reads of a `capabilities` record: its answers and some of its figures.

The file is the seam between measuring and comparing; fields that are not needed are not read.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from server.errors import SightwardError

NO_ANSWER = "no answer"


class RecordFileError(SightwardError):
    """A record that can't be read; `reason` says why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is no record of `capabilities`: {reason}")
        self.path = path
        self.reason = reason


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Answer(_Part):
    """One question with its answer; the fields are the record's own."""

    suite: str
    mode: str
    modality: str
    kind: str
    subject: str
    question: str
    is_unsafe: bool
    right: str
    outcome: str
    score: float | None
    p_unsafe: float | None = None
    text: str | None = None


class _Value(_Part):
    value: float | None


class Gap(_Part):
    """Alignment by words minus by picture, on unsafe subjects, no answer counting as wrong."""

    mode: str
    words: str
    counted_wrong: _Value


class Diversity(_Part):
    """Of a suite's written answers."""

    suite: str
    one_minus_self_bleu: float | None
    mean_tokens: float


class General(_Part):
    """A benchmark of general ability; the whole of it has the subtask ""."""

    benchmark: str
    subtask: str
    mode: str
    score: _Value


class Figures(_Part):
    """The figures that are taken as they are."""

    gaps: tuple[Gap, ...]
    diversity: tuple[Diversity, ...]
    general: tuple[General, ...]


class Data(_Part):
    """What was measured on."""

    name: str
    sha256: str
    split: str
    examples: int


class Record(_Part):
    """A measurement of one model."""

    data: Data
    figures: Figures
    answers: tuple[Answer, ...]

    def part(self, *, suite: str, mode: str, modality: str) -> tuple[Answer, ...]:
        """The judged answers of one suite in one mode and modality."""
        return tuple(
            answer
            for answer in self.answers
            if (answer.suite, answer.mode, answer.modality) == (suite, mode, modality)
            and answer.kind == "judged"
        )


def read_record(path: Path) -> Record:
    """Read a record file; raises RecordFileError."""
    try:
        return Record.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordFileError(path, error.strerror or "can't be read") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordFileError(path, f"{where}: {first['msg']}") from error
