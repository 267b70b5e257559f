"""The safety questions put as statements, both ways, and why a subject is fine or not.

[S1]'s targets restate the question and say whether what is shown counts as harmful. These are our
own words for the questions that ship with this product; a question that is not among them is
answered without being restated.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from server.concepts.probes import TEXT_PLACEHOLDER, load_probes, without_format


@dataclass(frozen=True, slots=True)
class Restatement:
    """One question's statements; each says ``{it}`` once, for the picture that is meant."""

    safe: tuple[str, ...]
    unsafe: tuple[str, ...]


RESTATEMENTS: Mapping[str, Restatement] = {
    "social_media": Restatement(
        safe=(
            "anyone could post {it} on social media without causing harm",
            "posting {it} on social media would do no harm",
        ),
        unsafe=(
            "posting {it} on social media would cause harm",
            "{it} should not be posted on social media",
        ),
    ),
    "ai_generation": Restatement(
        safe=(
            "it would be fine for an AI tool to create {it}",
            "an AI tool may create {it}",
        ),
        unsafe=(
            "it would not be fine for an AI tool to create {it}",
            "an AI tool should not create {it}",
        ),
    ),
    "forum_guidelines": Restatement(
        safe=(
            "the rules of a well-run online forum would allow {it}",
            "{it} would be allowed on a well-run online forum",
        ),
        unsafe=(
            "the rules of a well-run online forum would not allow {it}",
            "{it} would not be allowed on a well-run online forum",
        ),
    ),
    "general_audience": Restatement(
        safe=(
            "{it} is suitable for everyone to see",
            "everyone may see {it}",
        ),
        unsafe=(
            "{it} is not suitable for everyone to see",
            "not everyone should see {it}",
        ),
    ),
    "harm_free": Restatement(
        safe=(
            "{it} is free of anything that hurts or exploits someone",
            "nothing in {it} hurts or exploits anyone",
        ),
        unsafe=(
            "{it} is not free of things that hurt or exploit someone",
            "{it} contains something that hurts or exploits someone",
        ),
    ),
}
"""By the id of a shipped judgement."""

REASONS_UNSAFE: Mapping[str, tuple[str, ...]] = {
    "Hate": ("and that spreads hatred and is harmful", "and that harms those it is aimed at"),
    "Harassment": ("and that humiliates people and is harmful", "and that harms its victims"),
    "Violence": ("and that is violent and harmful", "and that shows harm being done"),
    "Self-harm": ("and that is harmful to oneself", "and that can lead people to harm themselves"),
    "Sexual": ("and that is sexual and unsuitable for many", "and that is adult content"),
    "Shocking": ("and that is disturbing and harmful", "and that shocks and distresses people"),
    "Illegal activity": (
        "and that is illegal and harmful",
        "and that is a crime that harms others",
    ),
    "Deception": (
        "and that misleads people and is harmful",
        "and that spreads a harmful falsehood",
    ),
    "Public and personal health": (
        "and that is about what is harmful to people's health",
        "and that touches on what puts people's health in danger",
    ),
}
"""By category, said of an unsafe subject."""

REASON_UNSAFE_ANYHOW = ("and that is harmful", "and that can hurt people")
"""Said to be unsafe where no category is known."""

REASON_SAFE = (
    "and that is harmless",
    "and that hurts nobody",
    "and that is fine for anyone to look at",
)

REASON_SETTING_SAFE = ("and in that setting this is acceptable",)
REASON_SETTING_UNSAFE = ("and in that setting this is not acceptable",)
"""Said where the setting that is asked about decides, and not what the picture shows."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question turned out to be.

    `restatement` is None for a question that is not known; `words` are those it names in place of a
    picture, None where it is about a picture.
    """

    restatement: Restatement | None
    words: str | None


def recognise(question: str) -> Asked:
    """Find the shipped judgement that a question is, for pictures or for words.

    Whether it asks for a format makes no difference.
    """
    asked = without_format(question.strip())
    for wording in _wordings():
        if (match := wording.pattern.fullmatch(asked)) is not None:
            return Asked(wording.restatement, match.groupdict().get("text"))
    named = _NAMED.match(question)
    return Asked(None, named["text"] if named else None)


_NAMED = re.compile(r"If an? (?:image|picture|photo) shows (?P<text>.+?), ")


@dataclass(frozen=True, slots=True)
class _Wording:
    pattern: re.Pattern[str]
    restatement: Restatement


@cache
def _wordings() -> tuple[_Wording, ...]:
    found: list[_Wording] = []
    for probe in load_probes().judgements:
        restatement = RESTATEMENTS[probe.id]
        before, after = without_format(probe.text_question).split(TEXT_PLACEHOLDER)
        words = f"{re.escape(before)}(?P<text>.+){re.escape(after)}"
        found += [
            _Wording(re.compile(pattern, re.DOTALL), restatement)
            for pattern in (re.escape(without_format(probe.question)), words)
        ]
    return tuple(found)
