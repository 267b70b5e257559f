"""Probes: the questions put to the VLM and how one token answers them.

Five yes/no questions after S1's five judge a picture; lettered questions recognise what it shows,
for VLMs without recognition rows. Every probe has a text-only twin ("if an image shows ..."), so
one model judges both modalities and the gap between them can be measured. The wording is ours;
`load_probes` takes another file, e.g. one with the paper's own. A question is part of a model's
version, since other words give other scores.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from string import ascii_uppercase
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from server.concepts.data_file import VersionedRecord, read_data_file
from server.errors import OptionCountError, UnknownProbeError

PROBES_FILE = Path(__file__).with_name("probes.json")

YES_NO_OPTIONS = ("yes", "no")
FORMAT_SENTENCE = " Answer yes or no."
"""How our yes/no questions end; S1's ask for no format."""

TEXT_PLACEHOLDER = "{text}"
OPTIONS_PLACEHOLDER = "{options}"


def without_format(question: str) -> str:
    """The question as S1 puts it, which leaves the form of the answer open."""
    return question.removesuffix(FORMAT_SENTENCE)


def _require(wording: str, placeholders: Sequence[str]) -> str:
    """Each placeholder exactly once, no other known one: a lost option list asks about nothing."""
    for placeholder in (TEXT_PLACEHOLDER, OPTIONS_PLACEHOLDER):
        expected = 1 if placeholder in placeholders else 0
        found = wording.count(placeholder)
        if found != expected:
            raise ValueError(
                f"must contain {placeholder} {expected} times, contains it {found} times"
            )
    return wording


def _plain(wording: str) -> str:
    return _require(wording, ())


def _with_text(wording: str) -> str:
    return _require(wording, (TEXT_PLACEHOLDER,))


def _with_options(wording: str) -> str:
    return _require(wording, (OPTIONS_PLACEHOLDER,))


def _with_text_and_options(wording: str) -> str:
    return _require(wording, (TEXT_PLACEHOLDER, OPTIONS_PLACEHOLDER))


Wording = Annotated[str, Field(min_length=1, max_length=2000)]
ProbeId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class YesNoProbe(VersionedRecord):
    """A yes/no question; `unsafe_answer` is the answer that says "unsafe"."""

    id: ProbeId
    question: Annotated[Wording, AfterValidator(_plain)]
    text_question: Annotated[Wording, AfterValidator(_with_text)]
    unsafe_answer: Literal["yes", "no"]

    @property
    def safe_answer(self) -> Literal["yes", "no"]:
        """The answer that says "safe"."""
        return "yes" if self.unsafe_answer == "no" else "no"

    def about_text(self, text: str) -> str:
        """The text twin with `text` put in as it is; braces in it mean nothing."""
        return self.text_question.replace(TEXT_PLACEHOLDER, text)


class LetteredProbe(VersionedRecord):
    """A question with lettered options, answered by one letter."""

    id: ProbeId
    question: Annotated[Wording, AfterValidator(_with_options)]
    text_question: Annotated[Wording, AfterValidator(_with_text_and_options)]

    def ask(self, options: Sequence[str]) -> str:
        """The question about a picture, with one "A. option" line each.

        Raises `OptionCountError` unless there are 2 to 26 options.
        """
        return self.question.replace(OPTIONS_PLACEHOLDER, _lettered_lines(options))

    def ask_about_text(self, text: str, options: Sequence[str]) -> str:
        """The text twin of `ask`."""
        # Options go in first, so that "{options}" inside the user's text stays mere text.
        wording = self.text_question.replace(OPTIONS_PLACEHOLDER, _lettered_lines(options))
        return wording.replace(TEXT_PLACEHOLDER, text)


class FollowUpProbe(LetteredProbe):
    """A lettered probe whose last option is always "none": not every picture shows a concept."""

    none_option: str = Field(min_length=1, max_length=100)

    def options(self, names: Sequence[str]) -> tuple[str, ...]:
        """The given names, then the "none" option."""
        return (*names, self.none_option)


class ProbeSet(VersionedRecord):
    """All probes of one file; `version` changes with any wording.

    `active` names the judgements asked online unless the operator says otherwise. It is no part of
    the version: which probes were asked is named beside it, and the words are the same.
    """

    active: tuple[ProbeId, ...] = Field(min_length=1)
    judgements: tuple[YesNoProbe, ...] = Field(min_length=1)
    perception: LetteredProbe
    category: FollowUpProbe
    concept: FollowUpProbe

    @model_validator(mode="after")
    def _ids_are_sound(self) -> Self:
        ids = [probe.id for probe in self.judgements]
        ids += [self.perception.id, self.category.id, self.concept.id]
        repeated = sorted({probe_id for probe_id in ids if ids.count(probe_id) > 1})
        if repeated:
            raise ValueError(f"probe id used more than once: {', '.join(repeated)}")
        known = {probe.id for probe in self.judgements}
        unknown = [probe_id for probe_id in self.active if probe_id not in known]
        if unknown:
            raise ValueError(f"active names no judgement: {', '.join(unknown)}")
        if len(set(self.active)) < len(self.active):
            raise ValueError("active names a judgement twice, which would weigh it double")
        return self

    def judgement(self, probe_id: str) -> YesNoProbe:
        """The yes/no probe with this id; raises `UnknownProbeError`."""
        for probe in self.judgements:
            if probe.id == probe_id:
                return probe
        raise UnknownProbeError(probe_id, tuple(probe.id for probe in self.judgements))

    def versioned_content(self) -> dict[str, Any]:
        """Every wording; not which probes are active."""
        return self.model_dump(mode="json", exclude={"active"})


def letters(count: int) -> tuple[str, ...]:
    """The answer letters for `count` options: A, B, C, ...; raises `OptionCountError`."""
    if not 2 <= count <= len(ascii_uppercase):
        raise OptionCountError(count, len(ascii_uppercase))
    return tuple(ascii_uppercase[:count])


def _lettered_lines(options: Sequence[str]) -> str:
    return "\n".join(
        f"{letter}. {option}" for letter, option in zip(letters(len(options)), options, strict=True)
    )


@cache
def _shipped_probes() -> ProbeSet:
    return read_data_file(PROBES_FILE, ProbeSet)


def load_probes(path: Path | None = None) -> ProbeSet:
    """The shipped probes, or those of a user's file in the same format.

    Raises `DataFileError` with the path of every bad field.
    """
    return _shipped_probes() if path is None else read_data_file(path, ProbeSet)
