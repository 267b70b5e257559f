"""One moderation call from its inputs to its results.

Two steps, each for all inputs at once: prepare (decode, check lengths), then judge. A call ends
with the first input that can't be prepared, before the model was asked anything, unless the caller
asked that each input answer for itself: then it alone is reported and the others are judged.
Results are on record before they are answered.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from server.api.assessing import Assessed, Assessor, refuse_unjudged
from server.api.call import ModerationCall
from server.api.comparing import Comparer
from server.api.errors import RefusedInputError, error_object
from server.api.explanations import with_explanations
from server.api.judging import course_of, note_durations, raise_first_refusal
from server.api.recording import Caller, OnRecord, Recorder, RefusedPart
from server.api.results import Part, ResultWriter
from server.api.schemas import ModerationResult
from server.concepts.taxonomy import Taxonomy
from server.concepts.verdict import UNREAD, merge
from server.engine.conversation import Writer
from server.explaining import Explainer
from server.moderator import Moderator
from server.telemetry import Metrics, RequestRecord

_REFUSED = (Part(UNREAD),)


@dataclass(frozen=True, slots=True)
class CallHandler:
    """Handles calls; holds what they share and nothing of any one of them."""

    assessor: Assessor
    recorder: Recorder
    taxonomy: Taxonomy
    metrics: Metrics
    comparer: Comparer | None = None
    explainer: Explainer | None = None

    async def results(
        self,
        call: ModerationCall,
        moderator: Moderator,
        record: RequestRecord,
        caller: Caller,
        *,
        began_s: float,
        writer: Writer | None = None,
    ) -> list[ModerationResult]:
        """The results in the inputs' order; `began_s` is `time.perf_counter` at the call's arrival.

        `writer` explains them where that is asked for; None: the engine does not write.

        Raises `RefusedInputError` for a bad input unless inputs are reported singly, `EngineError`
        when the model can't answer, which concerns the whole call either way unless the policy has
        such inputs reviewed, and `AuditLogError` where the policy wants no unrecorded answers.
        """
        record.images, record.texts = call.images, len(call.inputs) - call.images
        record.model_version = moderator.model_version
        policy = caller.policy
        prepared = await asyncio.gather(
            *(self.assessor.inputs.prepare(item) for item in call.inputs)
        )
        if not call.options.per_input:
            raise_first_refusal(prepared)
        assessed = await self.assessor.assess_all(
            prepared,
            moderator,
            policy,
            may_go_unjudged=policy.policy.unavailable == "review" and not caller.can_wait,
            answer_by_s=caller.answer_by_s,
        )
        assessed = [refuse_unjudged(item, policy) for item in assessed]
        if not call.options.per_input:
            raise_first_refusal(assessed)
        note_durations([item.judged for item in assessed if isinstance(item, Assessed)], record)
        result_writer = ResultWriter(policy, self.taxonomy, moderator.model_version)
        is_detailed = call.options.detail or call.options.explain
        groups = [assessed] if call.is_merged else [[item] for item in assessed]
        results = [
            self._result(group, result_writer, record, is_detailed=is_detailed, began_s=began_s)
            for group in groups
        ]
        on_record = self._on_record(groups, result_writer, call.options.ids or ())
        ids = await self.recorder.record(on_record, caller, model_version=moderator.model_version)
        if self.comparer is not None:
            self.comparer.offer(on_record, ids, caller, moderator)
        if call.options.explain and self.explainer is not None:
            return await with_explanations(
                results,
                groups,
                self.explainer,
                writer,
                result_writer,
                answer_by_s=caller.answer_by_s,
            )
        return results

    def _result(
        self,
        group: Sequence[Assessed | RefusedInputError],
        writer: ResultWriter,
        record: RequestRecord,
        *,
        is_detailed: bool,
        began_s: float,
    ) -> ModerationResult:
        """One result for a group: all inputs of a merged call, else a single one."""
        done = [item for item in group if isinstance(item, Assessed)]
        refused = [item for item in group if isinstance(item, RefusedInputError)]
        parts = _REFUSED if refused else tuple(item.part for item in done)
        merged = merge(part.verdict for part in parts)
        outcome, action = merged.outcome.value, writer.action(parts).value
        record.outcomes[outcome] += 1
        self.metrics.count_result(outcome, action)
        self.metrics.count_category(merged, action)
        if refused:
            shown = error_object(refused[0].cause, param=refused[0].param)
            self.metrics.refused_inputs.labels(shown.code).inc()
            return writer.failed(shown)
        judged = [item.judged for item in done]
        modalities = [item.modality for item in judged]
        if not is_detailed:
            return writer.plain(parts, modalities)
        return writer.detailed(parts, modalities, course_of(judged, began_s=began_s))

    def _on_record(
        self,
        groups: Sequence[Sequence[Assessed | RefusedInputError]],
        writer: ResultWriter,
        ids: Sequence[str],
    ) -> list[OnRecord]:
        found: list[OnRecord] = []
        for group in groups:
            parts = [(item.part if isinstance(item, Assessed) else _REFUSED[0]) for item in group]
            answer_action = writer.action(parts)
            for item, part in zip(group, parts, strict=True):
                caller_id = ids[len(found)] if ids else None
                own = writer.action([part])
                found.append(OnRecord(_recordable(item), own, answer_action, caller_id))
        return found


def _recordable(item: Assessed | RefusedInputError) -> Assessed | RefusedPart:
    if isinstance(item, Assessed):
        return item
    return RefusedPart(item.param, error_object(item.cause, param=item.param))
