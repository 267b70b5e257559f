"""Refusals and hedges: words that say nothing about the picture.

A refusal is cut out of its sentence, so that "I can't help with harmful content" accuses nobody. A
hedge voids its sentence; what a later one commits to still counts.
"""

import re

_DOING = (
    r"(?:assist|help|fulfil+|answer|provide|process|view|analy[sz]e|identify|describe|discuss|"
    r"engage|comply|judge|generate|create|display|access|comment|evaluate|assess|respond|make|"
    r"give|offer|feel|continue|complete|do (?:that|this|so)|see(?! any| why| a reason| how)|"
    r"tell you|perform|interpret|look at|determine|talk|support|share my|form)"
)
_REFUSAL = re.compile(
    rf"(?:i am sorry,? |i apologi[sz]e,? |sorry,? |but |unfortunately,? )*"
    rf"\b(?:i (?:can|could|will|would|do|am)(?: \w+)? not(?: be)?(?: able to)?(?: \w+)? {_DOING}\b|"
    rf"i am (?:unable|not able|not allowed|not designed|not programmed) to {_DOING}?|"
    rf"am unable to {_DOING}|unable to {_DOING}|(?:can|could) not {_DOING} (?:this|that|your|with)|"
    rf"i (?:do not|did not) (?:have (?:the ability|personal|access|opinions|an opinion|feelings)|"
    rf"see (?:one|an image|a picture|any image|any picture))|"
    rf"i am not comfortable|(?:as|i am) an? (?:ai|artificial|language|large language)\b|"
    rf"as a language model|no (?:image|picture|photo) (?:was|is|has been) (?:\w+ )?"
    rf"(?:provided|attached|given|uploaded|visible))"
    r"[^,.;]*"
)
_APOLOGY = re.compile(
    r"^(?:i am (?:very |so )?sorry|i apologi[sz]e|sorry|my apologies)\b,?\s*(?:but )?"
)

_HEDGE = re.compile(
    r"\bdepend(?:s|ing|ent)?\b|\bup to (?:its|the|their|each)\b|"
    r"\b(?:hard|difficult|tricky|impossible|not easy) (?:for me )?to "
    r"(?:say|tell|judge|know|determine|answer|decide)\b|\btricky\b|"
    r"\b(?:not|can not be) (?:entirely |completely |quite )?(?:sure|certain|clear)\b|\bunsure\b|"
    r"\buncertain\b|\bunclear\b|\bmaybe\b|^perhaps\W*$|^possibly\W*$|^(?:could|might) be\W*$|"
    r"\bi do not know\b|\bno idea\b|\bnot (?:always|necessarily)\b|\bgr[ae]y area\b|"
    r"\bno (?:\w+ )?(?:information|answer)\b|\bconsider the context\b|^whether\b|"
    r"\bcan not (?:really )?(?:say|tell|determine|judge|decide)\b|"
    r"\bcan not be (?:answered|determined|judged)\b|"
    r"\bnot enough (?:information|context|detail)|\bwithout (?:more|further|knowing)\b|"
    r"\bsubjective\b|\bvar(?:y|ies)\b|\b(?:opinions?|rules|views|standards)\b.{0,30}\bdiffer\b|"
    r"\b(?:both|two) sides\b|\beither way\b|\bcould be either\b|\byes and no\b|\bno comment\b|"
    r"\bsome\b.*\b(?:others?|not for|and not)\b|\bmay or may not\b|\bmight or might not\b|"
    r"\bopen to (?:debate|interpretation)\b|\bdebatable\b|\bcould be\b.* or (?:it )?could be\b"
)


def without_refusal(sentence: str) -> tuple[str, bool]:
    """The sentence without its refusal and apology, and whether it held a refusal."""
    rest, count = _REFUSAL.subn(" ", sentence)
    return _APOLOGY.sub("", rest.strip(" ,;")).strip(" ,;"), count > 0


def is_hedge(clause_or_sentence: str) -> bool:
    """Whether the words leave the answer open."""
    return _HEDGE.search(clause_or_sentence) is not None
