"""Context pairs: for every concept a setting in which showing it is fine and one in which it isn't.

S1 asks each unsafe picture in two contexts and expects "safe" in one and "unsafe" in the other: a
model that refuses whatever looks unsafe fails the first, one that allows everything the second. S1
uses a university lecture and the branding of a children's product for all; we wrote a pair for
every concept, so that a model can't learn two words. Where the law forbids showing the thing at
all, the fine setting is one that the law provides for, and a `note` says so.
"""

from collections import Counter
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from server.concepts.data_file import FrozenRecord, VersionedRecord, read_data_file
from server.concepts.taxonomy import load_taxonomy
from server.errors import UnknownConceptError

CONTEXTS_FILE = Path(__file__).with_name("contexts.json")

CONTEXT_PLACEHOLDER = "{context}"


def _once(wording: str) -> str:
    found = wording.count(CONTEXT_PLACEHOLDER)
    if found != 1:
        raise ValueError(f"must contain {CONTEXT_PLACEHOLDER} once, contains it {found} times")
    return wording


def _phrase(text: str) -> str:
    """A phrase that stands inside the question: not a sentence, not a template of its own."""
    if text != " ".join(text.split()):
        raise ValueError("must not have line breaks or spare spaces")
    if text.endswith((".", "!", "?", ",", ";", ":")):
        raise ValueError("must be a phrase without a final mark: the question ends the sentence")
    if "{" in text or "}" in text:
        raise ValueError("must not have braces")
    return text


Phrase = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_phrase)]


class ContextPair(FrozenRecord):
    """One concept's two settings; `note` tells the reader why a setting is what it is."""

    concept: str
    fine: Phrase
    not_fine: Phrase
    note: str = Field(default="", max_length=400)


class ContextSet(VersionedRecord):
    """The pairs of all concepts and the question that uses one; `unsafe_answer` says "unsafe".

    Notes are no part of the version, since they change no answer.
    """

    wording: Annotated[
        str, Field(alias="question", min_length=1, max_length=500), AfterValidator(_once)
    ]
    unsafe_answer: Literal["yes", "no"]
    contexts: tuple[ContextPair, ...]

    @model_validator(mode="after")
    def _every_concept_has_one_pair(self) -> Self:
        counts = Counter(pair.concept for pair in self.contexts)
        known = load_taxonomy().concept_names
        problems = {
            "without contexts": [name for name in known if name not in counts],
            "not in the taxonomy": [name for name in counts if name not in known],
            "given more than once": [name for name, count in counts.items() if count > 1],
        }
        if found := [f"{what}: {', '.join(names)}" for what, names in problems.items() if names]:
            raise ValueError("; ".join(found))
        return self

    @model_validator(mode="after")
    def _no_setting_is_used_twice(self) -> Self:
        counts = Counter(text for pair in self.contexts for text in (pair.fine, pair.not_fine))
        if repeated := [text for text, count in counts.items() if count > 1]:
            raise ValueError(f"setting used more than once: {'; '.join(repeated)}")
        return self

    @property
    def safe_answer(self) -> Literal["yes", "no"]:
        """The answer that says "safe"."""
        return "yes" if self.unsafe_answer == "no" else "no"

    def of(self, concept: str) -> ContextPair:
        """The concept's two settings; raises `UnknownConceptError`."""
        try:
            return self._pairs[concept]
        except KeyError:
            raise UnknownConceptError(concept) from None

    def question(self, context: str) -> str:
        """The yes/no question about a picture in a setting."""
        return self.wording.replace(CONTEXT_PLACEHOLDER, context)

    def versioned_content(self) -> dict[str, Any]:
        """The question, its unsafe answer and every setting."""
        return self.model_dump(mode="json", exclude={"contexts": {"__all__": {"note"}}})

    @cached_property
    def _pairs(self) -> Mapping[str, ContextPair]:
        return MappingProxyType({pair.concept: pair for pair in self.contexts})


@cache
def _shipped_contexts() -> ContextSet:
    return read_data_file(CONTEXTS_FILE, ContextSet)


def load_contexts(path: Path | None = None) -> ContextSet:
    """The shipped pairs, or those of a user's file in the same format.

    Raises `DataFileError` with the path of every bad field.
    """
    return _shipped_contexts() if path is None else read_data_file(path, ContextSet)
