"""Explanations for a call's results: of the input that decided each, after all is judged.

They are asked for when verdicts are final and on record, so none of them can change one, and
whatever becomes of an explanation, its result is answered.
"""

import asyncio
from collections.abc import Sequence

from server.api.assessing import Assessed
from server.api.errors import RefusedInputError
from server.api.results import ResultWriter
from server.api.schemas import ExplanationText, ModerationResult
from server.engine.conversation import Writer
from server.explaining import Explainer, Explanation, NoExplanation

Group = Sequence[Assessed | RefusedInputError]


async def with_explanations(
    results: Sequence[ModerationResult],
    groups: Sequence[Group],
    explainer: Explainer,
    writer: Writer | None,
    results_writer: ResultWriter,
    *,
    answer_by_s: float | None,
) -> list[ModerationResult]:
    """The results, each with an explanation of the input of its group that decided it."""
    explained = await asyncio.gather(
        *(_explained(group, explainer, writer, results_writer, answer_by_s) for group in groups)
    )
    return [_with(result, one) for result, one in zip(results, explained, strict=True)]


async def _explained(
    group: Group,
    explainer: Explainer,
    writer: Writer | None,
    results_writer: ResultWriter,
    answer_by_s: float | None,
) -> Explanation | NoExplanation:
    if any(isinstance(item, RefusedInputError) for item in group):
        return explainer.count_none("not_judged")
    decided = max(
        (item for item in group if isinstance(item, Assessed)),
        key=lambda item: (
            results_writer.action([item.part]).severity,
            item.judged.verdict.p_unsafe or 0.0,
        ),
    )
    if decided.findings.listed is not None:
        return explainer.count_none("listed")
    return await explainer.explain(
        decided.content, decided.judged.verdict, writer, answer_by_s=answer_by_s
    )


def _with(result: ModerationResult, explained: Explanation | NoExplanation) -> ModerationResult:
    detail = result.sightward
    if detail is None:
        return result
    fields: dict[str, object] = {"explanation": None, "no_explanation": None}
    if isinstance(explained, Explanation):
        fields["explanation"] = ExplanationText(
            text=explained.text, tokens=explained.tokens, truncated=explained.is_truncated
        )
    else:
        fields["no_explanation"] = explained
    return result.model_copy(update={"sightward": detail.model_copy(update=fields)})
