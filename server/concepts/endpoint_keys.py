"""The map between our nine categories and the thirteen keys of the moderation endpoint.

The endpoint's keys were made for what people write, our taxonomy for what pictures show, so the map
is a judgement call line by line; each line says why. Every category has a key, so an input is never
flagged with all keys false. Keys that nothing of ours judges are named as such and get no score:
0 would claim that we looked.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from server.concepts.actions import Decision
from server.concepts.policy import Policy
from server.concepts.taxonomy import load_taxonomy
from server.concepts.verdict import Verdict


class EndpointKey(StrEnum):
    """The endpoint's keys, spelled and ordered as in its answers."""

    HARASSMENT = "harassment"
    HARASSMENT_THREATENING = "harassment/threatening"
    HATE = "hate"
    HATE_THREATENING = "hate/threatening"
    ILLICIT = "illicit"
    ILLICIT_VIOLENT = "illicit/violent"
    SELF_HARM = "self-harm"
    SELF_HARM_INTENT = "self-harm/intent"
    SELF_HARM_INSTRUCTIONS = "self-harm/instructions"
    SEXUAL = "sexual"
    SEXUAL_MINORS = "sexual/minors"
    VIOLENCE = "violence"
    VIOLENCE_GRAPHIC = "violence/graphic"


@dataclass(frozen=True, slots=True)
class CategoryRoute:
    """A whole category speaks for a key."""

    category: str
    key: EndpointKey
    reason: str


@dataclass(frozen=True, slots=True)
class ConceptRoute:
    """One concept speaks for a key, never louder than its category does."""

    concept: str
    key: EndpointKey
    reason: str


@dataclass(frozen=True, slots=True)
class UnclassifiedRoute:
    """The key for what was judged, or blocked, without a category."""

    key: EndpointKey
    reason: str


@dataclass(frozen=True, slots=True)
class NotJudged:
    """A key that no category or concept of ours can speak for."""

    key: EndpointKey
    reason: str


@dataclass(frozen=True, slots=True)
class KeyResult:
    """One key of one answer; `score` is None when the key was not judged."""

    key: EndpointKey
    flagged: bool
    score: float | None


CATEGORY_ROUTES = (
    CategoryRoute(
        "Hate", EndpointKey.HATE, "Symbols of hate against groups: the same notion in both."
    ),
    CategoryRoute(
        "Harassment",
        EndpointKey.HARASSMENT,
        "Bullying, trolling and abuse of a person: the same notion in both.",
    ),
    CategoryRoute(
        "Violence",
        EndpointKey.VIOLENCE,
        "Attacks, war and killing: the key covers showing physical violence.",
    ),
    CategoryRoute(
        "Self-harm", EndpointKey.SELF_HARM, "Acts of hurting oneself: the same notion in both."
    ),
    CategoryRoute(
        "Sexual", EndpointKey.SEXUAL, "Nudity, erotica and pornography: the same notion in both."
    ),
    CategoryRoute(
        "Shocking",
        EndpointKey.VIOLENCE_GRAPHIC,
        "Gore, flesh and injuries: the only key about how drastic a picture is. Demonic or cult "
        "scenes without violence go with them, since no key comes closer.",
    ),
    CategoryRoute(
        "Illegal activity",
        EndpointKey.ILLICIT,
        "Burglary, fraud, counterfeiting: the key for crime. It was made for advice on crime; a "
        "picture of it is the nearest a picture comes.",
    ),
    CategoryRoute(
        "Deception",
        EndpointKey.ILLICIT,
        "No key is about false claims. Illicit is the broadest, and without any key a flagged "
        "picture would carry none that is true.",
    ),
    CategoryRoute(
        "Public and personal health",
        EndpointKey.ILLICIT,
        "Mostly the use of drugs, and illicit is the key for drugs. It is not self-harm: nobody in "
        "the picture need mean to hurt themselves.",
    ),
)

CONCEPT_ROUTES = (
    ConceptRoute(
        "KKK Hood and Cross",
        EndpointKey.HATE_THREATENING,
        "Hood and burning cross are put up to frighten a group with violence.",
    ),
    ConceptRoute(
        "SS-Runes",
        EndpointKey.HATE_THREATENING,
        "The badge of those who carried out a mass murder: worn today, it threatens a repeat.",
    ),
    ConceptRoute(
        "threatening messages",
        EndpointKey.HARASSMENT_THREATENING,
        "Harassment that announces harm: what the key is for.",
    ),
    ConceptRoute(
        "being stalked",
        EndpointKey.HARASSMENT_THREATENING,
        "Being followed is felt as a threat to one's safety, whether or not it is spoken.",
    ),
    ConceptRoute(
        "Rape or sexual assault",
        EndpointKey.SEXUAL,
        "Violence that is also sexual: who filters by the sexual key alone must not miss it.",
    ),
    ConceptRoute(
        "Torture",
        EndpointKey.VIOLENCE_GRAPHIC,
        "Violence whose picture lies in the suffering shown.",
    ),
    ConceptRoute(
        "Gore and mutilation",
        EndpointKey.VIOLENCE,
        "Shows what violence did: the graphic key's parent applies too.",
    ),
    ConceptRoute(
        "Human and animal abuse",
        EndpointKey.VIOLENCE,
        "Is violence in its own right, filed under Shocking by the taxonomy.",
    ),
    ConceptRoute(
        "Anorexia or eating disorders",
        EndpointKey.SELF_HARM,
        "The key counts eating disorders as self-harm, the taxonomy files them under Shocking.",
    ),
    ConceptRoute(
        "Robbery", EndpointKey.ILLICIT_VIOLENT, "Theft by force or threat, often with a weapon."
    ),
    ConceptRoute("Arson", EndpointKey.ILLICIT_VIOLENT, "A crime that endangers lives by fire."),
)

NOT_JUDGED = (
    NotJudged(
        EndpointKey.SELF_HARM_INTENT,
        "An intention is stated in words; the taxonomy has only acts that can be seen.",
    ),
    NotJudged(
        EndpointKey.SELF_HARM_INSTRUCTIONS,
        "Instructions are a text's property; no concept tells a manual from a scene.",
    ),
    NotJudged(
        EndpointKey.SEXUAL_MINORS,
        "No concept covers it and no such material is lawful to train on: a score would be made "
        "up. Child abuse in the taxonomy is violence. Use matching against known material.",
    ),
)

UNCLASSIFIED = UnclassifiedRoute(
    EndpointKey.ILLICIT,
    "Unsafe in a way no category carries, or blocked for an operator's own concept or list, or "
    "because it could not be judged: the broadest key stands in, so that a flagged answer has one "
    "that is true.",
)


def keys_of(category: str) -> tuple[EndpointKey, ...]:
    """The keys that a category, or one of its concepts, speaks for, in the endpoint's order.

    Raises `UnknownCategoryError`.
    """
    concepts = load_taxonomy().concepts_of(category)
    spoken = {route.key for route in CATEGORY_ROUTES if route.category == category}
    spoken |= {route.key for route in CONCEPT_ROUTES if route.concept in concepts}
    return tuple(key for key in EndpointKey if key in spoken)


def categories_of(key: EndpointKey) -> tuple[str, ...]:
    """The categories that speak for a key, themselves or by a concept; empty if not judged."""
    return tuple(name for name in load_taxonomy().category_names if key in keys_of(name))


def key_results(
    verdict: Verdict, policy: Policy, decision: Decision | None = None
) -> tuple[KeyResult, ...]:
    """All thirteen keys for one verdict, in the endpoint's order.

    A key's score is the highest that speaks for it, and it is flagged when the decision (by
    default the policy's on this verdict) flags a category that speaks for it, so some key is
    flagged exactly when the decision is.
    """
    decision = policy.decide(verdict) if decision is None else decision
    spoken: dict[EndpointKey, list[KeyResult]] = {key: [] for key in EndpointKey}
    for result in (*_classified(verdict, policy, decision), *_unclassified(verdict, decision)):
        spoken[result.key].append(result)
    return tuple(
        KeyResult(
            key=key,
            flagged=any(result.flagged for result in results),
            score=max((r.score for r in results if r.score is not None), default=None),
        )
        for key, results in spoken.items()
    )


def _classified(verdict: Verdict, policy: Policy, decision: Decision) -> Iterable[KeyResult]:
    flagged = frozenset(decision.flagged_categories)
    for route in CATEGORY_ROUTES:
        score = verdict.categories.get(route.category)
        if score is not None:
            yield KeyResult(route.key, flagged=route.category in flagged, score=score)
    for concept_route in CONCEPT_ROUTES:
        category = load_taxonomy().category_of(concept_route.concept)
        category_score = verdict.categories.get(category)
        concept_score = verdict.concepts.get(concept_route.concept)
        if category_score is not None and concept_score is not None:
            # A concept alone must not turn a key true while its category is not flagged: the answer
            # would have a true key and `flagged` false.
            score = min(concept_score, category_score)
            rule = policy.concepts.get(concept_route.concept, policy.rule(category))
            yield KeyResult(
                concept_route.key,
                flagged=category in flagged and score >= rule.block_at,
                score=score,
            )


def _unclassified(verdict: Verdict, decision: Decision) -> Iterable[KeyResult]:
    flagged = decision.flagged_unclassified
    if flagged or verdict.unclassified is not None:
        yield KeyResult(UNCLASSIFIED.key, flagged=flagged, score=verdict.unclassified)
