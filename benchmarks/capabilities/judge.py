"""A language model that grades written answers (after S2's judge, and those of the benchmarks).

The judge is any `BatchEngine`, asked greedily. What it grades was written by a model that may have
learnt to please judges, so an answer can neither close the tags it stands between nor spell a chat
template's control tokens. A reply counts only if it is exactly one grade in range: whatever else
the judge says is no grade, never 0.
"""

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.capabilities.rubrics import Rubric, Rubrics, load_rubrics
from benchmarks.capabilities.tasks import Task
from server.engine.protocol import BatchEngine, Prompt, Sampling, Written
from server.errors import EngineError, SightwardError

# A model told to answer in one line may still think aloud before it.
_MAX_TOKENS = 1024
# Several times what 512 tokens write; a model that babbles on must not overflow the judge.
_MAX_ANSWER_CHARS = 8000
_BATCH = 32

_NUMBER = r"\d{1,3}(?:\.\d{1,3})?"
_DECORATION = r"[\s*_`\"']*"
_GRADE_LINE = re.compile(
    rf"{_DECORATION}scores?{_DECORATION}:{_DECORATION}(?P<grades>{_NUMBER}(?:[\s,;]+{_NUMBER})?)"
    rf"(?:\s*(?:/|out of)\s*(?P<out_of>\d{{1,3}}))?{_DECORATION}\.?{_DECORATION}",
    re.IGNORECASE,
)
_LIKE_A_GRADE = re.compile(r"\bscores?\b\W{0,4}\d", re.IGNORECASE)
_END_OF_THOUGHT = "</think>"

# What could open or close a tag, a control token (<|...|>, <s>) or an instruction mark ([INST]).
_MARK = re.compile(r"<(?=\s*[/|<!A-Za-z])|\[(?=\s*/?\s*INST\b)", re.IGNORECASE)
_DEFUSED = {"<": "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}", "[": "("}
_JOINS = re.compile(r"(<(?:AND|OR)>)")


@dataclass(frozen=True, slots=True)
class Judgement:
    """The judge's word on one answer: `score` in [0, 1], or None and why in `failure`.

    `reply` is what the judge wrote, where it wrote anything.
    """

    score: float | None
    reply: str | None = None
    failure: str | None = None


class Judge:
    """Grades answers with a model behind `engine`, which the caller starts and stops.

    `shows_pictures` is False for an engine that takes no pictures: rubrics that call for one are
    then applied to words alone, and the judge's name says so.
    """

    def __init__(
        self,
        engine: BatchEngine,
        *,
        rubrics: Rubrics | None = None,
        shows_pictures: bool = True,
        max_tokens: int = _MAX_TOKENS,
    ) -> None:
        self._engine = engine
        self._rubrics = load_rubrics() if rubrics is None else rubrics
        self._shows_pictures = shows_pictures
        self._sampling = Sampling(max_tokens=max_tokens, temperature=0.0, top_p=1.0)

    @property
    def name(self) -> str:
        """The judging model, its version and that of the rubrics; valid once the engine runs."""
        card = self._engine.card
        kind = "llm-judge" if self._shows_pictures else "llm-judge-of-words"
        return f"{kind}/{card.id}@{card.version}/rubrics@{self._rubrics.version}"

    async def score(self, answered: Sequence[tuple[Task, str]]) -> list[float | None]:
        """A score in [0, 1] for each answer, None where the judge gives none.

        Raises `EngineUnavailableError`, and `ValueError` for a task without a rubric.
        """
        return [judgement.score for judgement in await self.judge(answered)]

    async def judge(self, answered: Sequence[tuple[Task, str]]) -> list[Judgement]:
        """As `score`, with what the judge wrote and why there is no score.

        An empty answer is not shown to the judge: there is nothing to grade.
        """
        cases = [_Case(task, answer, self._rubrics.of(task)) for task, answer in answered]
        judged: list[Judgement] = []
        # In parts, so that not every picture of a benchmark is in memory at once.
        for start in range(0, len(cases), _BATCH):
            judged += await self._judge_part(cases[start : start + _BATCH])
        return judged

    async def _judge_part(self, cases: Sequence["_Case"]) -> list[Judgement]:
        prepared = await asyncio.to_thread(lambda: [self._prompt(case) for case in cases])
        prompts = [one for one in prepared if isinstance(one, Prompt)]
        replies: Iterator[Written | EngineError] = iter(
            await self._engine.write_all(prompts, self._sampling) if prompts else ()
        )
        return [
            _read(next(replies), case) if isinstance(one, Prompt) else one
            for case, one in zip(cases, prepared, strict=True)
        ]

    def _prompt(self, case: "_Case") -> Prompt | Judgement:
        """What the judge is asked, or the judgement where there is nothing to ask."""
        if not case.answer.strip():
            return Judgement(None, failure="the answer is empty")
        wording = _wording(self._rubrics, case)
        open_image = case.task.open_image
        if open_image is None or not (self._shows_pictures and case.rubric.shows_picture):
            return Prompt(wording)
        try:
            return Prompt(wording, open_image())
        except SightwardError as error:
            return Judgement(None, failure=str(error))


@dataclass(frozen=True, slots=True)
class _Case:
    """One answer with the question it was given to and the rubric it is graded by."""

    task: Task
    answer: str
    rubric: Rubric


def _wording(rubrics: Rubrics, case: _Case) -> str:
    task, rubric = case.task, case.rubric
    parts = [rubrics.introduction, rubric.criteria, _tagged("question", _defused(task.prompt))]
    if task.context:
        parts.append(_tagged("description", _defused(task.context)))
    if task.right:
        # <AND> and <OR> are part of how references are written; nothing else in them is a mark.
        pieces = _JOINS.split(task.right)
        reference = "".join(
            piece if index % 2 else _defused(piece) for index, piece in enumerate(pieces)
        )
        parts.append(_tagged("reference", reference))
    parts.append(_tagged("answer", _defused(case.answer[:_MAX_ANSWER_CHARS])))
    parts.append(rubrics.asking(rubric))
    return "\n\n".join(parts)


def _tagged(tag: str, text: str) -> str:
    return f"<{tag}>\n{text.strip()}\n</{tag}>"


def _defused(text: str) -> str:
    """`text` with every mark replaced, never removed: what is left can't make up a new one."""
    return _MARK.sub(lambda mark: _DEFUSED[mark[0]], text)


def _read(reply: Written | EngineError, case: _Case) -> Judgement:
    if isinstance(reply, EngineError):
        return Judgement(None, failure=f"the judge failed: {reply}")
    if not reply.is_complete:
        # What was cut may be the 0 of a 10.
        return Judgement(None, reply.text, "the judge's reply is cut short")
    grades = _grades(reply.text, case.rubric)
    if grades is None:
        return Judgement(None, reply.text, "the judge's reply is no grade")
    *reference, grade = grades
    # Graded beside a reference, an answer earns its share of what the reference earned.
    raw = case.rubric.highest * grade / reference[0] if reference else grade
    return Judgement(min(1.0, raw / case.task.max_score), reply.text)


def _grades(text: str, rubric: Rubric) -> list[float] | None:
    """The grades of the one line that has any, each in range; None for anything else."""
    said = text.rpartition(_END_OF_THOUGHT)[2].strip()
    lines = [line for line in said.splitlines() if _LIKE_A_GRADE.search(line)]
    # A judge that writes the number alone has answered all the same.
    line = f"score: {said}" if not lines else lines[0]
    match = _GRADE_LINE.fullmatch(line)
    if len(lines) > 1 or match is None:
        return None
    grades = [float(grade) for grade in re.findall(_NUMBER, match["grades"])]
    out_of = match["out_of"]
    if (
        len(grades) != (2 if rubric.grades_reference else 1)
        or not all(rubric.lowest <= grade <= rubric.highest for grade in grades)
        or (out_of is not None and float(out_of) != rubric.highest)
    ):
        return None
    return grades
