"""Which hint a risk calls for: the part of the policy file that steers written answers.

S2 gives level 1 a warning, level 2 leave to refuse, level 3 a refusal. Here a level counts as
reached where the probability of it or of a riskier one reaches a threshold, so that thresholds of
0.5 follow the middle of the distribution, and a cautious operator can lower them. Any type can be
switched off, and can have thresholds of its own.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_serializer

from server.concepts.data_file import FrozenRecord
from server.concepts.hints import Hint, Subject, check_risk_type
from server.concepts.risk import CLEAN, Risk

# A threshold of 0 would be reached by every picture; null means that a hint is never given.
LevelThreshold = Annotated[float, Field(gt=0.0, le=1.0)] | None

HintSource = Literal["risk", "verdict", "own_concept", "list", "off"]
"""What a hint was chosen by: a safety head, the ordinary verdict, a concept or a list of the
operator's, or nobody, as switched off."""


@dataclass(frozen=True, slots=True)
class HintChoice:
    """The hint for one judged input, what it was chosen by, and what it warns of.

    `type` is a category; None where there is no hint or only "unsafe" is known. `has_gap` says that
    some of what was asked about could not be judged: then no model may be asked, not even to
    decline.
    """

    hint: Hint
    source: HintSource
    type: str | None = None
    subject: Subject = "picture"
    has_gap: bool = False


class LevelThresholds(FrozenRecord):
    """From which probability of a level or a riskier one its hint is given; null: never."""

    warn_at: LevelThreshold = 0.5
    may_refuse_at: LevelThreshold = 0.5
    must_refuse_at: LevelThreshold = 0.5

    def hint(self, risk: Risk) -> Hint:
        """The strictest hint whose threshold is reached."""
        by_level = (
            (3, Hint.MUST_REFUSE, self.must_refuse_at),
            (2, Hint.MAY_REFUSE, self.may_refuse_at),
            (1, Hint.WARN, self.warn_at),
        )
        for level, hint, threshold in by_level:
            if threshold is not None and risk.at_least(level) >= threshold:
                return hint
        return Hint.NONE


class TypeHints(FrozenRecord):
    """One type's switch, and its thresholds where they differ from the others'."""

    enabled: bool = True
    levels: LevelThresholds | None = None


def _frozen(types: Mapping[str, TypeHints]) -> Mapping[str, TypeHints]:
    for name in types:
        check_risk_type(name)
    return MappingProxyType(dict(types))


class HintRules(FrozenRecord):
    """When a risk calls for which hint. A type that is not named is switched on.

    Beside it an input's action calls for one too (`Policy.hint`), and the stricter is given: levels
    can be stricter than actions, never more lenient.

    With `enabled` false no hint is given and nothing is declined for its level, so that answers
    with and without control can be compared; inputs are judged all the same.
    """

    enabled: bool = True
    levels: LevelThresholds = LevelThresholds()
    types: Annotated[Mapping[str, TypeHints], AfterValidator(_frozen)] = Field(
        default_factory=lambda: MappingProxyType({})
    )

    @field_serializer("types")
    def _as_plain_dict(self, types: Mapping[str, TypeHints]) -> dict[str, TypeHints]:
        return dict(types)

    def is_on(self, risk_type: str) -> bool:
        """Whether this type of risk is controlled."""
        return risk_type not in self.types or self.types[risk_type].enabled

    def of_risk(self, risk: Risk) -> HintChoice:
        """What a usable risk calls for.

        Switched-off types silence a level where they hold more than half of what is not "clean".
        The likeliest of the others is named, and its thresholds count, unless "clean" is likelier
        still: then the level alone says that something is wrong, and not what.
        """
        risky = {name: share for name, share in risk.types.items() if name != CLEAN}
        controlled = {name: share for name, share in risky.items() if self.is_on(name)}
        if not controlled or math.fsum(controlled.values()) < math.fsum(risky.values()) / 2:
            return HintChoice(Hint.NONE, "risk")
        likeliest = max(controlled, key=lambda name: controlled[name])
        is_named = controlled[likeliest] >= risk.types[CLEAN]
        own = self.types[likeliest].levels if is_named and likeliest in self.types else None
        hint = (own or self.levels).hint(risk)
        return HintChoice(hint, "risk", likeliest if is_named and hint is not Hint.NONE else None)


class ChatRules(FrozenRecord):
    """How the chat route uses hints.

    `judge_words`: the user's words are judged too, by the question that was made for the names of
    things. It takes many harmless questions for unsafe, so it is off unless asked for: then words
    are not judged at all, and a conversation without a picture is refused.

    `must_refuse`: whether a fixed text declines in the model's place, or the model is asked to, as
    in S2. Asking is no guarantee: the hint stands in the user's own turn, whose words can
    contradict it, and a model that never learnt to follow hints may pass over it.

    `undetermined`: whether an input that could not be judged is declined with a fixed text, or is
    an error. It is never answered, whatever the rest says.
    """

    judge_words: bool = False
    must_refuse: Literal["decline", "ask_model"] = "decline"
    undetermined: Literal["decline", "error"] = "decline"


def strictest(choices: Iterable[HintChoice | None]) -> HintChoice | None:
    """The choice that counts of several; None where one is None and none of them must refuse.

    So what was not judged is never answered, and hides no refusal. Of equally strict ones it is the
    first that names a type: a hint names one, as in training. Raises `ValueError` without any.
    """
    every = tuple(choices)
    if not every:
        raise ValueError("no choices")
    known = [choice for choice in every if choice is not None]
    if not known:
        return None
    chosen = max(known, key=lambda choice: (choice.hint.severity, choice.type is not None))
    has_gap = len(known) < len(every) or any(choice.has_gap for choice in known)
    if has_gap and chosen.hint is not Hint.MUST_REFUSE:
        return None
    return replace(chosen, has_gap=has_gap)
