"""One moderation call from its inputs to its results.

Two steps, each for all inputs at once: prepare (decode, check lengths), then judge. A call ends
with the first input that can't be prepared, before the model was asked anything, unless the caller
asked that each input answer for itself: then it alone is reported and the others are judged.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from server.api.call import ModerationCall
from server.api.errors import RefusedInputError, error_object
from server.api.judging import (
    InputHandler,
    Judged,
    course_of,
    note_durations,
    raise_first_refusal,
)
from server.api.results import ResultWriter
from server.api.schemas import ModerationResult
from server.concepts.policy import Policy
from server.concepts.taxonomy import Taxonomy
from server.concepts.verdict import UNREAD, merge
from server.moderator import Moderator
from server.telemetry import Metrics, RequestRecord


@dataclass(frozen=True, slots=True)
class CallHandler:
    """Handles calls; holds what they share and nothing of any one of them."""

    inputs: InputHandler
    policy: Policy
    taxonomy: Taxonomy
    metrics: Metrics

    async def results(
        self, call: ModerationCall, moderator: Moderator, record: RequestRecord, *, began_s: float
    ) -> list[ModerationResult]:
        """The results in the inputs' order; `began_s` is `time.perf_counter` at the call's arrival.

        Raises `RefusedInputError` for a bad input unless inputs are reported singly, and
        `EngineError` when the model can't answer, which concerns the whole call either way.
        """
        record.images, record.texts = call.images, len(call.inputs) - call.images
        record.model_version = moderator.model_version
        prepared = await asyncio.gather(*(self.inputs.prepare(item) for item in call.inputs))
        if not call.options.per_input:
            raise_first_refusal(prepared)
        judged = await self.inputs.judge_all(prepared, moderator)
        if not call.options.per_input:
            raise_first_refusal(judged)
        note_durations(judged, record)
        writer = ResultWriter(self.policy, self.taxonomy, moderator.model_version)
        groups = [judged] if call.is_merged else [[item] for item in judged]
        return [
            self._result(group, writer, record, is_detailed=call.options.detail, began_s=began_s)
            for group in groups
        ]

    def _result(
        self,
        group: Sequence[Judged | RefusedInputError],
        writer: ResultWriter,
        record: RequestRecord,
        *,
        is_detailed: bool,
        began_s: float,
    ) -> ModerationResult:
        """One result for a group: all inputs of a merged call, else a single one."""
        judged = [item for item in group if isinstance(item, Judged)]
        refused = [item for item in group if isinstance(item, RefusedInputError)]
        verdict = UNREAD if refused else merge([item.verdict for item in judged])
        record.outcomes[verdict.outcome.value] += 1
        self.metrics.count_result(verdict.outcome.value, writer.action(verdict).value)
        if refused:
            shown = error_object(refused[0].cause, param=refused[0].param)
            self.metrics.refused_inputs.labels(shown.code).inc()
            return writer.failed(shown)
        modalities = [item.modality for item in judged]
        if not is_detailed:
            return writer.plain(verdict, modalities)
        return writer.detailed(verdict, modalities, course_of(judged, began_s=began_s))
