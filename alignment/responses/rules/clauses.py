"""A sentence cut into clauses, each with its role in the argument.

Negation reaches no further than its clause, and "although ..." weighs less than "so ...".
"""

import re
from dataclasses import dataclass
from enum import Enum, auto


class Role(Enum):
    """What a clause does for the sentence."""

    MAIN = auto()
    CONCESSION = auto()
    CONDITION = auto()
    CONTRAST = auto()
    CONCLUSION = auto()
    REASON = auto()


@dataclass(frozen=True, slots=True)
class Clause:
    """The words of a clause, without the connective, and its role."""

    text: str
    role: Role


_ROLES = {
    Role.CONCESSION: (
        r"even though|although|though|despite|in spite of|while|whereas|even if|"
        r"on (?:the )?one hand|at first(?: glance)?|granted"
    ),
    Role.CONDITION: (
        r"if|unless|whether|when|as long as|so long as|provided(?: that)?|assuming|in case|"
        r"only when|except"
    ),
    Role.CONTRAST: (
        r"but|however|nevertheless|nonetheless|still|yet|that said|even so|"
        r"on the other hand|instead"
    ),
    Role.CONCLUSION: (
        r"so(?= |$)(?! that| far| much| many)|therefore|thus|hence|consequently|accordingly|"
        r"overall|on the whole|all in all|in conclusion|to conclude|in short|in summary|"
        r"to sum up|ultimately|in the end|for (?:that|this|these) reasons?|"
        r"because of (?:that|this)|as a result|in my (?:view|opinion)|"
        r"(?:my |the )?(?:final )?(?:answer|verdict|conclusion) (?:is|would be|remains)"
    ),
    Role.REASON: (
        r"because(?! of (?:that|this))|since|due to|as (?=it |they |this |these |the |such )"
    ),
}

# A new subject or verb after these begins a clause; a list ("violent, sexual or hateful") does not.
_SUBJECT = (
    r"(?:it|this|that|the|these|those|there|they|he|she|we|you|i|which|who|such|its|most|many|"
    r"people|children|any|anyone|everyone|posting|showing|sharing)\b"
)
_VERB = (
    r"(?:is|are|was|were|has|have|should|could|would|can|may|might|must|will|does|do|contains?|"
    r"shows?|breaks?|violates?|raises?|provokes?|it|this|the|there|they|i|its|also)\b"
)

_CUT = re.compile(
    "|".join(rf"(?P<{role.name}>\b(?:{words})\b)" for role, words in _ROLES.items())
    + rf"|(?P<PLAIN>[;:]| - |,(?= {_SUBJECT})|,? and (?={_VERB}))"
)

# "While X, Y": the opening clause ends at the comma, and what follows is the main one.
_OPENING = frozenset({Role.CONCESSION, Role.CONDITION, Role.REASON})


def clauses(sentence: str) -> list[Clause]:
    """The clauses of a lower-case sentence, in order; empty ones are left out."""
    found: list[Clause] = []
    role, start = Role.MAIN, 0
    for match in _CUT.finditer(sentence):
        if match.start() < start:
            continue
        _add(found, sentence[start : match.start()], role)
        kind = match.lastgroup or ""
        start = match.end()
        if kind in Role.__members__:
            role = Role[kind]
        elif match.group().strip() in {";", ":"} or role in _OPENING:
            role = Role.MAIN
    _add(found, sentence[start:], role)
    return found


def _add(found: list[Clause], text: str, role: Role) -> None:
    if role in _OPENING and not any(clause.role is Role.MAIN for clause in found):
        inside, comma, rest = text.strip(" ,").partition(",")
        if comma:
            _keep(found, inside, role)
            _keep(found, rest, Role.MAIN)
            return
    _keep(found, text, role)


def _keep(found: list[Clause], text: str, role: Role) -> None:
    text = text.strip(" ,")
    if text:
        found.append(Clause(text, role))
