"""The second judge's reading of a record's written answers: not the one that training rewarded.

By default the classifier that learnt from hand-labelled answers (`alignment.responses.learned`), or
a language model behind an OpenAI-compatible endpoint. A judge's readings are kept beside the
record: a remote one is not paid twice.
"""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alignment.compare.records import Answer
from alignment.compare.verdicts import Verdict
from alignment.responses.protocol import (
    Classification,
    Response,
    ResponseClassifier,
    ResponseOutcome,
)
from server.concepts.probes import ProbeSet, load_probes, without_format
from server.errors import SightwardError


class SecondJudgeError(SightwardError):
    """A second judge was named by half."""

    def __init__(self) -> None:
        super().__init__("a second judge needs both --judge and --judge-url")


@dataclass(frozen=True, slots=True)
class SecondReading:
    """What the judge reads, and how often that is what the record has."""

    judge: str
    verdicts: tuple[Verdict, ...]
    agreement: float | None


class EndpointJudge:
    """A language model at an OpenAI-compatible endpoint, asked as `llm_judge` asks any.

    `api_key` goes to that endpoint alone.
    """

    def __init__(self, url: str, model: str, *, api_key: str | None = None) -> None:
        self._url, self._model, self._api_key = url, model, api_key

    @property
    def name(self) -> str:
        """Names the model."""
        return f"llm-judge({self._model})"

    async def classify(self, responses: Sequence[Response]) -> list[Classification]:
        """One classification a response; raises EngineError where the endpoint can't be used."""
        from alignment.responses.llm_judge import LlmJudge
        from server.engine.remote import RemoteEngine

        engine = RemoteEngine(self._url, self._model, api_key=self._api_key, needs_pictures=False)
        await engine.start()
        try:
            return await LlmJudge(engine).classify(responses)
        finally:
            await engine.stop()


def read_again(
    answers: Sequence[Answer],
    judge: ResponseClassifier,
    *,
    kept: Path,
    probes: ProbeSet | None = None,
) -> SecondReading:
    """Have `judge` read written answers about pictures; its readings are kept in file `kept`."""
    probes = load_probes() if probes is None else probes
    responses = [_response(answer, probes) for answer in answers]
    outcomes = _kept_or_read(responses, judge, kept)
    agreeing = [
        outcome == answer.outcome for outcome, answer in zip(outcomes, answers, strict=True)
    ]
    verdicts = tuple(
        Verdict(
            is_unsafe=answer.right == "unsafe",
            says_unsafe=(
                None if outcome == ResponseOutcome.NO_ANSWER else outcome == ResponseOutcome.UNSAFE
            ),
        )
        for outcome, answer in zip(outcomes, answers, strict=True)
    )
    return SecondReading(judge.name, verdicts, sum(agreeing) / len(agreeing) if agreeing else None)


def question_of(answer: Answer, probes: ProbeSet) -> str:
    """The question that a written answer was given to."""
    return without_format(probes.judgement(answer.question).question)


def _response(answer: Answer, probes: ProbeSet) -> Response:
    return Response(
        question=question_of(answer, probes),
        unsafe_answer=probes.judgement(answer.question).unsafe_answer,
        text=answer.text or "",
    )


def _kept_or_read(
    responses: Sequence[Response], judge: ResponseClassifier, kept: Path
) -> list[str]:
    asked = [(one.question, one.unsafe_answer, one.text) for one in responses]
    key = hashlib.sha256(json.dumps([judge.name, asked]).encode()).hexdigest()
    if kept.is_file():
        found = json.loads(kept.read_text(encoding="utf-8"))
        if found["key"] == key:
            return [str(outcome) for outcome in found["outcomes"]]
    classified: list[Classification] = asyncio.run(judge.classify(responses)) if responses else []
    outcomes = [one.outcome.value for one in classified]
    partial = kept.with_suffix(".partial")
    partial.write_text(json.dumps({"key": key, "judge": judge.name, "outcomes": outcomes}))
    partial.replace(kept)
    return outcomes
