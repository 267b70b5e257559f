"""A guarded answer to one conversation: S2's control at inference, step by step.

Every picture is judged first, and, where the policy wants it, every user's turn, alone and all
together. The strictest hint that the policy calls for goes behind the newest turn's pictures, and
then the model writes; or a fixed text declines in its place. What could not be judged is never
answered, and a conversation of which nothing is judged, words alone, is refused. Words of the
system and of the assistant are not judged: whoever calls the route is their author and could leave
them out.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from server.api.assessing import Assessed, Assessor
from server.api.chat_answers import ChatDetail
from server.api.chat_call import ChatCall, ChatTurn
from server.api.comparing import Comparer
from server.api.errors import RefusedInputError
from server.api.judging import Prepared, course_of, note_durations, raise_first_refusal
from server.api.recording import Caller, OnRecord, Recorder
from server.api.results import ResultWriter
from server.concepts.hint_rules import HintChoice, strictest
from server.concepts.hints import (
    Hint,
    Subject,
    decline_text,
    hint_text,
    hinted,
    undetermined_text,
)
from server.concepts.policy import Policy
from server.concepts.taxonomy import Taxonomy
from server.concepts.verdict import merge
from server.engine.conversation import Chat, Piece, Turn, Writer
from server.errors import NothingToJudgeError, NotJudgedError
from server.moderator import Moderator
from server.telemetry import Metrics, RequestRecord


@dataclass(frozen=True, slots=True)
class Reply:
    """A conversation's verdict, and its answer as it is written or the text in its place."""

    detail: ChatDetail
    pieces: AsyncGenerator[Piece]


@dataclass(frozen=True, slots=True)
class ChatHandler:
    """Handles conversations; holds what they share and nothing of any one of them."""

    assessor: Assessor
    recorder: Recorder
    taxonomy: Taxonomy
    metrics: Metrics
    comparer: Comparer | None = None

    async def reply(
        self,
        call: ChatCall,
        moderator: Moderator,
        writer: Writer,
        record: RequestRecord,
        caller: Caller,
        *,
        began_s: float,
    ) -> Reply:
        """Judge the conversation and begin its answer; the model writes when `pieces` are read.

        `began_s` is `time.perf_counter` at the call's arrival. Raises `RefusedInputError` for a bad
        input, `NothingToJudgeError`, `NotJudgedError` where the policy wants an error,
        `EngineError` when the model can't judge, and `AuditLogError` where the policy wants no
        unrecorded answers.
        """
        record.images = call.images
        record.texts = sum(1 for _ in call.inputs) - call.images
        record.model_version = moderator.model_version
        policy = caller.policy.policy
        turns = await self._prepared(call)
        subjects = [*_pictures(turns), *_words(call.turns, turns, policy)]
        if not subjects:
            raise NothingToJudgeError
        assessed = await self.assessor.assess_all(
            subjects, moderator, caller.policy, may_go_unjudged=False
        )
        raise_first_refusal(assessed)
        done = [one for one in assessed if isinstance(one, Assessed)]
        note_durations([one.judged for one in done], record)
        results = ResultWriter(caller.policy, self.taxonomy, moderator.model_version)
        on_record = _on_record(done, results)
        ids = await self.recorder.record(on_record, caller, model_version=moderator.model_version)
        if self.comparer is not None:
            self.comparer.offer(on_record, ids, caller, moderator)
        choices = [_choice(one, policy) for one in done]
        choice = strictest(choices)
        if choice is None and policy.chat.undetermined == "error":
            raise NotJudgedError
        is_declined = choice is None or _is_declined(choice, policy)
        detail = self._detail(
            done, choice, results, record, is_declined=is_declined, began_s=began_s
        )
        if is_declined:
            unjudged = [one for one, chosen in zip(done, choices, strict=True) if chosen is None]
            return Reply(detail, _fixed(_text_in_place(choice, unjudged)))
        chat = Chat(
            _with_hint(
                [_turn(turn, parts) for turn, parts in zip(call.turns, turns, strict=True)], choice
            ),
            seed=call.seed,
            stop=call.stop,
        )
        return Reply(detail, writer.stream(chat, call.sampling))

    async def _prepared(self, call: ChatCall) -> list[list[Prepared]]:
        """Every turn's inputs; raises `RefusedInputError` for the first bad one."""
        prepared = await asyncio.gather(
            *(self.assessor.inputs.prepare(item) for item in call.inputs)
        )
        raise_first_refusal(prepared)
        rest = iter([one for one in prepared if not isinstance(one, RefusedInputError)])
        return [[next(rest) for _ in turn.inputs] for turn in call.turns]

    def _detail(
        self,
        assessed: Sequence[Assessed],
        choice: HintChoice | None,
        results: ResultWriter,
        record: RequestRecord,
        *,
        is_declined: bool,
        began_s: float,
    ) -> ChatDetail:
        parts = [one.part for one in assessed]
        judged = [one.judged for one in assessed]
        outcome = merge(part.verdict for part in parts).outcome.value
        record.outcomes[outcome] += 1
        record.hint = "undetermined" if choice is None else choice.hint.value
        source = "undetermined" if choice is None else choice.source
        self.metrics.count_result(outcome, results.action(parts).value)
        self.metrics.hints.labels(record.hint, source).inc()
        return ChatDetail(
            hint=None if choice is None else choice.hint,
            source=None if choice is None else choice.source,
            type=None if choice is None else choice.type,
            subject=None if choice is None else choice.subject,
            answered_by="server" if is_declined else "model",
            policy_version=results.policy.version,
            verdict=results.detail(parts, course_of(judged, began_s=began_s)),
        )


def _words(
    turns: Sequence[ChatTurn], prepared: Sequence[Sequence[Prepared]], policy: Policy
) -> Iterator[Prepared]:
    """What each user's turn says, as one text, then what all say together.

    Cut into parts or turns, it could be said unnoticed.
    """
    if not policy.chat.judge_words:
        return
    said = []
    for turn, parts in zip(turns, prepared, strict=True):
        words = "\n".join(part.content for part in parts if isinstance(part.content, str))
        if turn.role == "user" and words.strip():
            said.append(words)
            yield Prepared.words(turn.param, words)
    if len(said) > 1:
        yield Prepared.words("messages", "\n".join(said))


def _choice(assessed: Assessed, policy: Policy) -> HintChoice | None:
    choice = policy.hint(assessed.judged.verdict, assessed.findings)
    return None if choice is None else replace(choice, subject=_subject(assessed))


def _is_declined(choice: HintChoice, policy: Policy) -> bool:
    """Whether a fixed text takes the model's place; where something is unjudged, always.

    And for what is on a block-list: it is shown to no model, not even to decline.
    """
    if choice.has_gap:
        return True
    must_refuse = choice.hint is Hint.MUST_REFUSE
    return must_refuse and (policy.chat.must_refuse == "decline" or choice.source == "list")


def _on_record(assessed: Sequence[Assessed], results: ResultWriter) -> list[OnRecord]:
    answer_action = results.action([one.part for one in assessed])
    return [OnRecord(one, results.action([one.part]), answer_action) for one in assessed]


def _pictures(turns: Sequence[Sequence[Prepared]]) -> Iterator[Prepared]:
    return (part for turn in turns for part in turn if isinstance(part.content, Image.Image))


def _subject(assessed: Assessed) -> Subject:
    return "picture" if assessed.judged.modality == "image" else "message"


def _turn(turn: ChatTurn, prepared: Sequence[Prepared]) -> Turn:
    return Turn(turn.role, tuple(part.content for part in prepared))


def _with_hint(turns: Sequence[Turn], choice: HintChoice | None) -> tuple[Turn, ...]:
    """The turns with the hint behind the newest one's pictures, before any words that follow."""
    *earlier, newest = turns
    if choice is None or choice.hint is Hint.NONE:
        return (*earlier, newest)
    text = hint_text(choice.hint, choice.type, subject=choice.subject)
    parts = list(newest.parts)
    pictures = [place for place, part in enumerate(parts) if not isinstance(part, str)]
    behind = max(pictures, default=-1) + 1
    first_words = parts[behind] if behind < len(parts) else None
    if isinstance(first_words, str):
        parts[behind] = hinted(first_words, text)
    else:
        parts.append(text)
    return (*earlier, replace(newest, parts=tuple(parts)))


def _text_in_place(choice: HintChoice | None, unjudged: Sequence[Assessed]) -> str:
    if choice is not None:
        return decline_text(choice.type, subject=choice.subject)
    subjects = {_subject(one) for one in unjudged}
    return undetermined_text(subject="picture" if "picture" in subjects else "message")


async def _fixed(text: str) -> AsyncGenerator[Piece]:
    """An answer that no model wrote: it costs no tokens."""
    yield Piece(text, tokens=0, prompt_tokens=0, end="stop")
