"""Asks a block of tasks and reads the answers.

A block goes to the engine as one list. What comes back is read by the classifiers of its mode; a
question that could not be answered becomes a row of its own that says why, never a missing one.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from alignment.responses.protocol import (
    Classification,
    LetterClassifier,
    LetteredResponse,
    Response,
    ResponseClassifier,
    ResponseOutcome,
)
from benchmarks.capabilities.schema import NO_ANSWER, AnswerRow
from benchmarks.capabilities.tasks import Mode, Task
from server.engine.protocol import Answer, BatchEngine, Prompt, Question, Sampling, Written
from server.errors import EngineError, SightwardError


class OpenScorer(Protocol):
    """Scores written answers to open questions."""

    @property
    def name(self) -> str:
        """Names the judge or measure, for records."""
        ...

    async def score(self, answered: Sequence[tuple[Task, str]]) -> list[float | None]:
        """A score in [0, 1] for each answer, None where none can be given."""
        ...


@dataclass(frozen=True, slots=True)
class Readers:
    """What reads the answers of one mode."""

    judged: ResponseClassifier
    lettered: LetterClassifier


@dataclass(frozen=True, slots=True)
class Said:
    """An engine's answer to one task, or why there is none."""

    task: Task
    answer: Answer | None = None
    written: Written | None = None
    failure: str | None = None

    @property
    def text(self) -> str | None:
        """The written answer."""
        return None if self.written is None else self.written.text

    @property
    def option_mass(self) -> Mapping[str, float] | None:
        """The first token's probability of each option."""
        return None if self.answer is None else self.answer.option_mass


class Interview:
    """Asks `engine` in blocks; `scorer` reads the answers to open tasks and is needed for no other.

    Raises `ValueError` for an open task without a scorer, or a mode without readers.
    """

    def __init__(
        self,
        engine: BatchEngine,
        readers: Mapping[Mode, Readers],
        *,
        sampling: Sampling,
        scorer: OpenScorer | None = None,
    ) -> None:
        self._engine = engine
        self._readers = readers
        self._sampling = sampling
        self._scorer = scorer

    async def ask(self, tasks: Sequence[Task]) -> list[Said]:
        """Have the engine answer tasks of one mode; raises `EngineUnavailableError`."""
        pictures = await asyncio.to_thread(_open_pictures, tasks)
        askable = [one for one in tasks if not isinstance(pictures[one.id], SightwardError)]
        answers = iter(await self._answers(askable, pictures))
        said = []
        for task in tasks:
            picture = pictures[task.id]
            result = picture if isinstance(picture, SightwardError) else next(answers)
            said.append(_said(task, result))
        return said

    async def read(self, said: Sequence[Said]) -> list[AnswerRow]:
        """What the answers say, one row each, in their order."""
        rows: dict[str, AnswerRow] = {}
        readers = self._readers[said[0].task.mode]
        answered = [one for one in said if one.failure is None]
        judged = [one for one in answered if one.task.kind in ("judged", "yes-no")]
        lettered = [one for one in answered if one.task.kind == "lettered"]
        opened = [one for one in answered if one.task.kind == "open"]
        for one, classified in zip(
            judged, await readers.judged.classify([_response(one) for one in judged]), strict=True
        ):
            rows[one.task.id] = _judged_row(one, classified)
        for one, letter in zip(
            lettered,
            await readers.lettered.choose([_lettered(one) for one in lettered]),
            strict=True,
        ):
            rows[one.task.id] = _row(one, outcome=letter or NO_ANSWER)
        for one, score in zip(opened, await self._scores(opened), strict=True):
            outcome = NO_ANSWER if score is None else "answered"
            rows[one.task.id] = _row(one, outcome=outcome, score=score)
        return [rows.get(one.task.id) or _row(one, outcome=NO_ANSWER) for one in said]

    async def _answers(
        self, tasks: Sequence[Task], pictures: Mapping[str, Any]
    ) -> Sequence[Answer | Written | EngineError]:
        if not tasks:
            return []
        if tasks[0].mode == "token":
            return await self._engine.ask_all(
                [Question(one.prompt, one.options, pictures[one.id]) for one in tasks]
            )
        return await self._engine.write_all(
            [Prompt(one.prompt, pictures[one.id], one.seed) for one in tasks], self._sampling
        )

    async def _scores(self, said: Sequence[Said]) -> list[float | None]:
        if not said:
            return []
        if self._scorer is None:
            raise ValueError("open questions need a scorer")
        return await self._scorer.score([(one.task, one.text or "") for one in said])


def _open_pictures(tasks: Sequence[Task]) -> dict[str, Image.Image | SightwardError | None]:
    """The picture of every task by its id; each is opened once, however many ask about it."""
    by_subject: dict[tuple[str, str, str], Image.Image | SightwardError] = {}
    pictures: dict[str, Image.Image | SightwardError | None] = {}
    for task in tasks:
        if task.open_image is None:
            pictures[task.id] = None
            continue
        key = (task.benchmark, task.modality, task.subject.id)
        if key not in by_subject:
            try:
                by_subject[key] = task.open_image()
            except SightwardError as error:
                by_subject[key] = error
        pictures[task.id] = by_subject[key]
    return pictures


def _said(task: Task, result: Answer | Written | SightwardError) -> Said:
    if isinstance(result, Answer):
        return Said(task, answer=result)
    if isinstance(result, Written):
        return Said(task, written=result)
    return Said(task, failure=f"{type(result).__name__}: {result}")


def _response(said: Said) -> Response:
    return Response(
        question=said.task.prompt,
        # Of a plain yes/no question "no" takes the place of "unsafe": only the word is wanted.
        unsafe_answer=said.task.unsafe_answer or "no",
        text=said.text,
        option_mass=said.option_mass,
    )


def _lettered(said: Said) -> LetteredResponse:
    return LetteredResponse(
        question=said.task.prompt,
        options=said.task.names,
        text=said.text,
        option_mass=said.option_mass,
    )


def _judged_row(said: Said, classified: Classification) -> AnswerRow:
    outcome = classified.outcome
    if said.task.kind == "judged":
        row = _row(said, outcome=outcome.value)
        # A classifier of written answers is certain or silent: its shares are no probabilities.
        return row if said.answer is None else _with_p_unsafe(row, classified)
    words = {ResponseOutcome.SAFE: "yes", ResponseOutcome.UNSAFE: "no"}
    return _row(said, outcome=words.get(outcome, NO_ANSWER))


def _with_p_unsafe(row: AnswerRow, classified: Classification) -> AnswerRow:
    p_unsafe = None if row.outcome == NO_ANSWER else classified.p_unsafe
    return row.model_copy(update={"p_unsafe": p_unsafe})


def _row(said: Said, *, outcome: str, score: float | None = None) -> AnswerRow:
    task = said.task
    if task.kind != "open" and outcome != NO_ANSWER:
        score = float(outcome == task.right)
    mass = said.option_mass
    return AnswerRow(
        task=task.id,
        suite=task.suite,
        mode=task.mode,
        modality=task.modality,
        kind=task.kind,
        subject=task.subject.id,
        group=task.subject.group,
        concept=task.subject.concept,
        category=task.subject.category,
        is_unsafe=task.subject.is_unsafe,
        question=task.question,
        right=task.right,
        outcome=outcome,
        score=score,
        names=task.names,
        answer_mass=None if mass is None else min(1.0, sum(mass.values())),
        text=said.text,
        tokens=None if said.written is None else said.written.tokens,
        is_complete=None if said.written is None else said.written.is_complete,
        failure=said.failure,
        benchmark=task.benchmark,
        subtask=task.subtask,
    )
