"""One input under one policy: what the model says of it, what else is known, what to do about it.

Lists come first. A picture that is blocked by one is shown to no model; one that is allowed by one
is judged all the same, since lists change actions and not scores. Own concepts are asked about
while the input is judged, and of the same model. A canary judges its share of the contents; what it
fails on is the default's after all.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from server.api.errors import RefusedInputError
from server.api.judging import InputHandler, Judged, Prepared
from server.api.results import Modality, Part
from server.cache.score_cache import Subject
from server.concepts.own_concepts import NOTHING_FOUND, Findings, ListMatch, OwnConcept
from server.concepts.policy_book import TenantPolicy
from server.concepts.verdict import UNREAD, UNSAFE_AT, Outcome, Verdict
from server.errors import EngineUnavailableError, InputNotJudgedError, QuestionTooLongError
from server.known_material import KnownMaterialMatcher, known
from server.moderator import Judgement, Moderator
from server.own_scores import own_score
from server.rollout.canary import CanaryRoute
from server.rollout.roles import Role
from server.task_group import task_group


@dataclass(frozen=True, slots=True)
class Assessed:
    """An input that was judged, or was blocked without it. `content` is what was judged.

    `by` is the role of the model that judged it.
    """

    param: str
    content: Image.Image | str
    judged: Judged
    findings: Findings = NOTHING_FOUND
    by: Role = Role.DEFAULT

    @property
    def part(self) -> Part:
        """What a decision is made of."""
        return Part(self.judged.verdict, self.findings)


@dataclass(frozen=True, slots=True)
class Assessor:
    """Assesses inputs; holds what they share and nothing of any one of them."""

    inputs: InputHandler
    matchers: Sequence[KnownMaterialMatcher] = ()
    canary: CanaryRoute | None = None

    async def assess_all(
        self,
        items: Sequence[Prepared | RefusedInputError],
        moderator: Moderator,
        policy: TenantPolicy,
        *,
        may_go_unjudged: bool,
        answer_by_s: float | None = None,
    ) -> list[Assessed | RefusedInputError]:
        """Every input at once; a refusal that was passed in comes back.

        Where the model can't be asked, `EngineUnavailableError` ends the call, or with
        `may_go_unjudged` that input is one that could not be judged; so is then one that is not
        done by `answer_by_s`, a time of the event loop's clock.
        """
        async with task_group() as group:
            tasks = [
                group.create_task(
                    self._assess(item, moderator, policy, may_go_unjudged, answer_by_s)
                )
                for item in items
            ]
        return [task.result() for task in tasks]

    async def _assess(
        self,
        item: Prepared | RefusedInputError,
        moderator: Moderator,
        policy: TenantPolicy,
        may_go_unjudged: bool,
        answer_by_s: float | None,
    ) -> Assessed | RefusedInputError:
        if isinstance(item, RefusedInputError):
            return item
        listed = None
        try:
            async with asyncio.timeout_at(answer_by_s if may_go_unjudged else None):
                listed = await self._listed(item, policy)
                if listed is not None and listed.list == "block":
                    return _unjudged(item, listed)
                return await self._routed(item, moderator, policy.policy.own_concepts, listed)
        except (EngineUnavailableError, TimeoutError):
            if not may_go_unjudged:
                raise
            return _unjudged(item, listed)

    async def _listed(self, item: Prepared, policy: TenantPolicy) -> ListMatch | None:
        """The list that a picture is on; known material outweighs the operator's own lists."""
        if isinstance(item.content, str):
            return None
        match = await known(self.matchers, item.content, item.fingerprint)
        return match or policy.listed(item.fingerprint)

    async def again(
        self, assessed: Assessed, moderator: Moderator, policy: TenantPolicy
    ) -> Assessed | RefusedInputError:
        """What another model says of an input, which nobody is answered with; raises as above."""
        judged = assessed.judged
        item = Prepared(assessed.param, assessed.content, judged.decode_ms, judged.fingerprint)
        return await self._judged(
            item, moderator, policy.policy.own_concepts, assessed.findings.listed, Role.SHADOW
        )

    async def _routed(
        self,
        item: Prepared,
        default: Moderator,
        concepts: Sequence[OwnConcept],
        listed: ListMatch | None,
    ) -> Assessed | RefusedInputError:
        if self.canary is not None:
            assessed = await self.canary.first(
                item.fingerprint,
                lambda canary: self._judged(item, canary, concepts, listed, Role.CANARY),
            )
            if assessed is not None:
                return assessed
        return await self._judged(item, default, concepts, listed, Role.DEFAULT)

    async def _judged(
        self,
        item: Prepared,
        moderator: Moderator,
        concepts: Sequence[OwnConcept],
        listed: ListMatch | None,
        role: Role,
    ) -> Assessed | RefusedInputError:
        async with task_group() as group:
            judging = group.create_task(self.inputs.judge(item, moderator, role))
            asking = [
                group.create_task(self._own_score(item, moderator, concept)) for concept in concepts
            ]
        judged = judging.result()
        if isinstance(judged, RefusedInputError):
            return judged
        scores = {one.name: task.result() for one, task in zip(concepts, asking, strict=True)}
        return Assessed(item.param, item.content, judged, Findings(scores, listed), role)

    async def _own_score(
        self, item: Prepared, moderator: Moderator, concept: OwnConcept
    ) -> float | None:
        """P(yes) about an own concept, from the cache where it was asked before; None: unknown."""

        async def ask() -> Judgement:
            try:
                score = await own_score(moderator, item.content, concept)
            except QuestionTooLongError:
                # Its description leaves no room for the input: unknown, which is never allowed.
                score = None
            return Judgement(_as_verdict(score), engine_ms=0.0)

        cache = self.inputs.cache
        if cache is None:
            return (await ask()).verdict.p_unsafe
        version = f"{moderator.model_version}+own-{concept.probe.version}"
        # Without the picture itself, so that no look-alike answers for it.
        return (await cache.judgement(Subject(item.fingerprint, version), ask)).verdict.p_unsafe


def refuse_unjudged(
    item: Assessed | RefusedInputError, policy: TenantPolicy
) -> Assessed | RefusedInputError:
    """The input, or its refusal where it could not be judged and the policy makes that an error."""
    if isinstance(item, RefusedInputError) or policy.policy.undetermined != "error":
        return item
    if item.findings.listed is not None:
        return item
    unanswered = any(score is None for score in item.findings.own_concepts.values())
    if unanswered or item.judged.verdict.has_undetermined_part:
        return RefusedInputError(InputNotJudgedError(), param=item.param)
    return item


def _unjudged(item: Prepared, listed: ListMatch | None) -> Assessed:
    modality: Modality = "text" if isinstance(item.content, str) else "image"
    judged = Judged(UNREAD, modality, item.decode_ms, 0.0, item.fingerprint)
    return Assessed(item.param, item.content, judged, Findings(listed=listed))


def _as_verdict(score: float | None) -> Verdict:
    """An own concept's answer in the shape that the cache keeps."""
    if score is None:
        return UNREAD
    return Verdict(Outcome.UNSAFE if score >= UNSAFE_AT else Outcome.SAFE, score, 1.0)
