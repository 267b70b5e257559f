"""Yes and no in all their shapes: leading, elliptical ("It isn't."), concluding ("so, no")."""

import re
from dataclasses import dataclass
from typing import Literal

YesNo = Literal["yes", "no"]

_YES = r"(?:yes+|yeah+|yep|yup|aye|affirmative)"
_NO = r"(?:no+|nope|nah|negative)"
_ADVERB = (
    r"(?:well|hmm+|oh|um|honestly|actually|generally|mostly|probably|likely|most likely|certainly|"
    r"definitely|absolutely|unfortunately|sadly|in general|in most cases|usually|overall|clearly)"
)

# "No" before one of these answers; before a noun ("no child", "no harm") it only counts to zero.
_AFTER_NO = (
    r"(?:this|that|these|the|it|its|there|they|i|you|we|he|she|a|an|not|no|because|since|as|"
    r"posting|showing|sharing|sorry|in|if|but|and|unless|way)\b"
)
_LEADING = re.compile(
    rf"^(?:{_ADVERB},? )*(?:(?P<yes>{_YES})\b|"
    rf"(?P<no>{_NO})(?=[\s,.;:!-]*$|\s*[,;:]|\s+-|\s+{_AFTER_NO}))"
)
_REPEATED = re.compile(rf"^(?:(?:{_YES}|{_NO})\b[\s,.;:!/-]*)+$")
_ANY = re.compile(rf"\b(?:(?P<yes>{_YES})|(?P<no>{_NO}))\b")

# A yes or no between punctuation, or at the end of what draws a conclusion.
_CONCLUDING = re.compile(
    rf"(?:,|;|:| -|\b(?:so|say|think|towards?|answer is|answer would be|answer|verdict is|verdict|"
    rf"conclusion is|(?:answer|guess|vote|opinion|response|call|view|inclination) (?:is|would be)|"
    rf"with|mostly|probably|overall|whole|but))\s*(?:a |an |be |clear |definite )*"
    rf"(?:(?P<yes>{_YES})|(?P<no>{_NO}))(?=\s*(?:[,;:.]|$))"
)

_ELLIPTICAL = re.compile(
    r"^(?:it|this|that|they|there|he|she|anyone|one|i|you|the (?:image|picture|photo))"
    r" (?:is|are|does|do|would|could|should|can|may|will|was)(?P<no> not| none)?"
    r"(?: so)?$"
)
_PHRASES: tuple[tuple[re.Pattern[str], YesNo], ...] = (
    (re.compile(
        r"^(?:not at all|no way|never|by no means|not really|(?:of course|definitely|absolutely|"
        r"certainly|probably|surely|likely|most likely|most certainly|rather|i think|i guess|"
        r"i am afraid|preferably) not|i (?:do not|would not) (?:think|believe|say|suppose) so|"
        r"i doubt it|(?:there is )?no need(?: to(?: do so)?)?|false|incorrect)(?=,|$)"), "no"),
    (re.compile(
        r"^(?:of course|absolutely|certainly|definitely|sure|sure thing|indeed|correct|true|"
        r"right|exactly|surely|without (?:a )?doubt|i (?:think|believe|guess|suppose|would say) "
        r"so|no doubt)(?=,|$)"), "yes"),
)  # fmt: skip
_FILLER = re.compile(r"^\W*(?:i (?:can|will|would be|am happy)|here|let me|how can|what)\b")


@dataclass(frozen=True, slots=True)
class Particle:
    """A yes or no. `rest` is what follows it in its sentence."""

    answer: YesNo
    rest: str


@dataclass(frozen=True, slots=True)
class Mixed:
    """Nothing but yes and no, and not all the same."""


def leading(sentence: str) -> Particle | Mixed | None:
    """The yes or no that a lower-case sentence begins with, or is."""
    if _REPEATED.match(sentence):
        said = {_answer_of(match) for match in _ANY.finditer(sentence)}
        return Particle(said.pop(), "") if len(said) == 1 else Mixed()
    if re.match(rf"^{_YES} and {_NO}\b", sentence):
        return Mixed()
    match = _LEADING.match(sentence)
    if match:
        return Particle(_answer_of(match), sentence[match.end() :].strip(" ,;:-"))
    for pattern, answer in _PHRASES:
        match = pattern.match(sentence)
        if match and not _FILLER.match(sentence[match.end() :]):
            return Particle(answer, sentence[match.end() :].strip(" ,;:-"))
    elliptical = _ELLIPTICAL.match(sentence)
    if elliptical:
        return Particle("no" if elliptical["no"] else "yes", "")
    return None


def is_bare(sentence: str) -> bool:
    """Whether a sentence is nothing but yes or no."""
    return _REPEATED.match(sentence) is not None


def concluding(sentence: str) -> Particle | None:
    """The last yes or no that a lower-case sentence comes to, if it does."""
    matches = list(_CONCLUDING.finditer(sentence))
    if not matches:
        return None
    return Particle(_answer_of(matches[-1]), sentence[matches[-1].end() :].strip(" ,;:-"))


def _answer_of(match: re.Match[str]) -> YesNo:
    return "yes" if match["yes"] else "no"
