"""Concepts that an operator adds: each is one more yes/no question to the same model.

Their answers are held against thresholds of their own and have no say in `p_unsafe`, so adding one
changes no score of the others. A score is what the model makes of the question, neither trained nor
calibrated for it: try an own concept on pictures of yours before its `block_at` means anything. The
reference VLM learnt to judge and to recognise 75 concepts, and hardly to answer other questions;
bigger VLMs do better.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, field_validator

from server.concepts.actions import Action, Rule, strictest_action
from server.concepts.probes import FORMAT_SENTENCE, YesNoProbe
from server.concepts.taxonomy import load_taxonomy

MAX_OWN_CONCEPTS = 16
"""Of one policy: each costs a question about every input."""

WORDING_REVISION = "1"

ListName = Literal["allow", "block"]


class OwnConcept(Rule):
    """A concept by `name` (which answers are given under) and `description` (which is asked about).

    The description completes "Does this image show ...", e.g. "the logo of a tobacco brand".
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    description: Annotated[str, Field(min_length=1, max_length=500)]

    @field_validator("name")
    @classmethod
    def _is_no_name_of_the_taxonomy(cls, name: str) -> str:
        taxonomy = load_taxonomy()
        if name in taxonomy.category_names or name in taxonomy.concept_names:
            raise ValueError("the taxonomy has this name already; give it thresholds instead")
        return name

    @field_validator("description")
    @classmethod
    def _has_no_braces(cls, description: str) -> str:
        if "{" in description or "}" in description:
            raise ValueError("braces would be taken for placeholders of the question")
        return description

    @property
    def probe(self) -> YesNoProbe:
        """The question, of which "yes" says that the concept is there."""
        shown = self.description.strip().rstrip(".?!")
        return YesNoProbe(
            revision=WORDING_REVISION,
            id="own_concept",
            question=f"Does this image show {shown}?{FORMAT_SENTENCE}",
            text_question=f"If an image shows {{text}}, does it show {shown}?{FORMAT_SENTENCE}",
            unsafe_answer="yes",
        )


@dataclass(frozen=True, slots=True)
class ListMatch:
    """An input on a list: which list, and who said so (``policy``, or a matcher's name)."""

    list: ListName
    source: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What is known of an input beside its verdict.

    `own_concepts` are P(yes) by name, None where the model gave no answer. `listed` is the list
    that it is on, which outweighs every score.
    """

    own_concepts: Mapping[str, float | None] = field(default_factory=dict)
    listed: ListMatch | None = None


NOTHING_FOUND = Findings()


def own_action(concepts: tuple[OwnConcept, ...], scores: Mapping[str, float | None]) -> Action:
    """The strictest action that an answered own concept calls for."""
    return strictest_action(
        concept.action(score)
        for concept in concepts
        if (score := scores.get(concept.name)) is not None
    )


def has_unanswered(concepts: tuple[OwnConcept, ...], scores: Mapping[str, float | None]) -> bool:
    """Whether an own concept was asked about in vain, or not at all."""
    return any(scores.get(concept.name) is None for concept in concepts)
