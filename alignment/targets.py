"""What the baselines learn to answer: a written target for a question, and its opposite.

After [S1]: SFT learns an answer that restates the question and names what the picture shows and
whether that is harmful, in one fixed form; DPO learns to prefer it to its opposite; PPO sees no
target at all. The words here are ours, and of several forms: an answer is drawn from
(seed, prompt id) alone, so the same prompt always has the same target. Target and opposite share
their form and differ in the verdict and its reason only.

Every answer begins with "Yes" or "No", as a one-token verdict is read from there.
"""

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from alignment.data.manifest import SAFE, Example
from alignment.prompts import AlignmentPrompt
from alignment.restatements import (
    REASON_SAFE,
    REASON_SETTING_SAFE,
    REASON_SETTING_UNSAFE,
    REASON_UNSAFE_ANYHOW,
    REASONS_UNSAFE,
    recognise,
)
from alignment.tasks import CAPTION_REQUESTS
from server.concepts.taxonomy import load_taxonomy
from server.errors import SightwardError

Verdict = Literal["safe", "unsafe"]

_PICTURES = ("this picture", "this image")
_WORDS = ("a picture of {words}", "an image of {words}")
# {head} is yes or no, {statement} the question restated, {reason} what there is to see and why that
# is fine or not.
_FORMS = (
    "{head}, {statement}. {Reason}.",
    "{head}, {statement}, because {reason}.",
    "{head}. {Reason}, so {statement}.",
    "{head}. {Statement}: {reason}.",
)
_FORMS_UNRESTATED = (
    "{head}. {Reason}.",
    "{head}, because {reason}.",
)
_KIND = re.compile(r"an? (?:photo|icon|emoji|drawing|screenshot|picture|image) of (?:an? )?", re.I)


# A name such as that of a no-smoking sign would turn what is said of it around.
_DENIAL = re.compile(r"\b(?:no|not|non|never|without)\b", re.I)


class UnknownSubjectError(SightwardError):
    """A prompt is about a picture that is not in the data set."""

    def __init__(self, prompt_id: str, example_id: str) -> None:
        super().__init__(f"prompt {prompt_id!r} is about picture {example_id!r}, which is not here")
        self.prompt_id = prompt_id
        self.example_id = example_id


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """The right answer and its opposite, in the same form."""

    chosen: str
    rejected: str


class TargetWriter:
    """Writes answers to prompts about `examples` or about words alone."""

    def __init__(self, examples: Iterable[Example], *, seed: int) -> None:
        self._examples = {example.id: example for example in examples}
        self._seed = seed
        taxonomy = load_taxonomy()
        self._category_of = {
            name.casefold(): taxonomy.category_of(name) for name in taxonomy.concept_names
        }

    def target(self, prompt: AlignmentPrompt) -> str | None:
        """The answer that SFT learns; None for a prompt to leave out.

        A request for a caption is answered by the picture's own, as in the base's instruction
        stage, where it has one. Any other prompt without a right answer is left out. Raises
        `UnknownSubjectError` for a picture that is not among the examples.
        """
        if prompt.right is None:
            return self._caption(prompt)
        return self._answer(prompt, prompt.right)

    def pair(self, prompt: AlignmentPrompt) -> PreferencePair | None:
        """What DPO learns to prefer to what; None for a prompt without a right answer.

        Raises as `target` does.
        """
        if prompt.right is None:
            return None
        opposite: Verdict = "safe" if prompt.right == "unsafe" else "unsafe"
        return PreferencePair(self._answer(prompt, prompt.right), self._answer(prompt, opposite))

    def _answer(self, prompt: AlignmentPrompt, verdict: Verdict) -> str:
        # The same draws in the same order for both verdicts, so that both get the same form.
        rng = random.Random(f"{self._seed}:{prompt.id}:target")  # noqa: S311 - sampling
        form, subject, statement, reason = (rng.random() for _ in range(4))
        asked = recognise(prompt.text)
        example = self._example(prompt)
        name, category = self._subject(example, asked.words)
        is_setting = example is not None and example.unsafe != (prompt.right == "unsafe")
        says_yes = (verdict == "unsafe") == (prompt.unsafe_answer == "yes")
        said = _said(name, _pick(_reasons(verdict, category, is_setting), reason), example)
        parts = {
            "head": "Yes" if says_yes else "No",
            "reason": said,
            "Reason": _sentence_case(said),
        }
        if asked.restatement is None:
            return _pick(_FORMS_UNRESTATED, form).format(**parts)
        it = _pick(_PICTURES if example is not None else _WORDS, subject).format(
            words=name or "that"
        )
        restated = _pick(getattr(asked.restatement, verdict), statement).replace("{it}", it)
        parts |= {"statement": restated, "Statement": _sentence_case(restated)}
        return _pick(_FORMS, form).format(**parts)

    def _subject(self, example: Example | None, words: str | None) -> tuple[str, str]:
        """Name and category of what is judged; empty where unknown."""
        if example is not None:
            return _in_a_sentence(example.concept), example.category
        name = words or ""
        return _in_a_sentence(name), self._category_of.get(_KIND.sub("", name).casefold(), "")

    def _caption(self, prompt: AlignmentPrompt) -> str | None:
        example = self._example(prompt)
        if example is None or not example.caption or prompt.text not in CAPTION_REQUESTS:
            return None
        return f"{_sentence_case(example.caption)}."

    def _example(self, prompt: AlignmentPrompt) -> Example | None:
        if prompt.example_id is None:
            return None
        try:
            return self._examples[prompt.example_id]
        except KeyError:
            raise UnknownSubjectError(prompt.id, prompt.example_id) from None


def _pick(choices: Sequence[str], place: float) -> str:
    """The choice at `place` in [0, 1)."""
    return choices[int(place * len(choices))]


def _reasons(verdict: Verdict, category: str, is_setting: bool) -> Sequence[str]:
    if is_setting:
        return REASON_SETTING_SAFE if verdict == "safe" else REASON_SETTING_UNSAFE
    if verdict == "safe":
        return REASON_SAFE
    return REASONS_UNSAFE.get(category, REASON_UNSAFE_ANYHOW)


def _said(name: str, why: str, example: Example | None) -> str:
    shows = "it shows" if example is not None else "it would show"
    return f"{shows} {name or 'something'}, {why}"


def _in_a_sentence(name: str) -> str:
    """A name without its own capital, unless it has others ("KKK Hood"); empty for no usable name.

    Data sets without names call all that is safe "Safe".
    """
    name = " ".join(name.split())
    if name == SAFE or _DENIAL.search(name):
        return ""
    if name.startswith("The "):
        return f"the {name[4:]}"
    return name[:1].lower() + name[1:] if name[1:] == name[1:].lower() else name


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]
