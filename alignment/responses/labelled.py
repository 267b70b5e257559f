"""A file of labelled answers, and how a classifier does on it.

One JSON object a line. All have ``text``, ``label``, ``question``, ``split`` (``dev``: rules were
written while looking at it; ``held``: not) and ``style``. Answers to yes/no questions also have
``unsafe_answer``, and ``safe``, ``unsafe`` or ``no answer`` for a label; answers to lettered
questions have ``options``, and a letter or ``no answer``. A file holds one of the two kinds.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from alignment.responses.protocol import (
    LetterClassifier,
    LetteredResponse,
    Response,
    ResponseClassifier,
    ResponseOutcome,
)
from server.errors import SightwardError

NO_LETTER = "no answer"


class LabelledFileError(SightwardError):
    """A file of labelled answers that can't be used; says which line and why."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        super().__init__(f"{path}:{line}: {reason}")
        self.path = path
        self.line = line
        self.reason = reason


class _Labelled(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Literal["dev", "held"]
    style: str
    question: str
    text: str


class LabelledAnswer(_Labelled):
    """An answer to a yes/no question and what a careful reader takes it to say."""

    label: ResponseOutcome
    unsafe_answer: Literal["yes", "no"]

    @property
    def response(self) -> Response:
        """The answer as a classifier sees it."""
        return Response(self.question, self.unsafe_answer, text=self.text)


class LabelledLetter(_Labelled):
    """An answer to a lettered question and the letter it chooses, or ``no answer``."""

    label: str
    options: tuple[str, ...]

    @property
    def response(self) -> LetteredResponse:
        """The answer as a classifier sees it."""
        return LetteredResponse(self.question, self.options, text=self.text)


_LINE: TypeAdapter[LabelledAnswer | LabelledLetter] = TypeAdapter(LabelledAnswer | LabelledLetter)


@dataclass(frozen=True, slots=True)
class Score:
    """How often a classifier says what the label says. `confusion` counts (label, said)."""

    confusion: Counter[tuple[str, str]]
    wrong: tuple[tuple[LabelledAnswer | LabelledLetter, str], ...]

    @property
    def count(self) -> int:
        """How many answers were classified."""
        return self.confusion.total()

    @property
    def accuracy(self) -> float:
        """The share of answers classified as labelled; NaN where there are none."""
        right = sum(count for (label, said), count in self.confusion.items() if label == said)
        return right / self.count if self.count else float("nan")


def read_labelled(path: Path) -> list[LabelledAnswer] | list[LabelledLetter]:
    """Read and check a file; raises `LabelledFileError` with the first line that can't be used."""
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is no UTF-8 text"
        raise LabelledFileError(path, 0, reason) from error
    answers: list[LabelledAnswer] = []
    lettered: list[LabelledLetter] = []
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            item = _LINE.validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise LabelledFileError(path, number, f"{where}: {first['msg']}") from error
        if isinstance(item, LabelledAnswer):
            answers.append(item)
        else:
            lettered.append(item)
        if answers and lettered:
            raise LabelledFileError(path, number, "mixes yes/no and lettered answers")
    if not answers and not lettered:
        raise LabelledFileError(path, 0, "holds no answer")
    return answers or lettered


async def score_answers(classifier: ResponseClassifier, items: Sequence[LabelledAnswer]) -> Score:
    """How the classifier does on answers to yes/no questions."""
    found = await classifier.classify([item.response for item in items])
    return score_of(items, [one.outcome.value for one in found])


async def score_letters(classifier: LetterClassifier, items: Sequence[LabelledLetter]) -> Score:
    """How the classifier does on answers to lettered questions."""
    found = await classifier.choose([item.response for item in items])
    return score_of(items, [one or NO_LETTER for one in found])


def score_of(items: Sequence[LabelledAnswer | LabelledLetter], said: Sequence[str]) -> Score:
    """The score of what a classifier said of the items, in their order."""
    pairs = list(zip(items, said, strict=True))
    return Score(
        Counter((str(item.label), one) for item, one in pairs),
        tuple((item, one) for item, one in pairs if str(item.label) != one),
    )
