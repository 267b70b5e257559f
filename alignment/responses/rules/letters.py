"""Which option a written answer to a lettered question chooses: the rules and their order.

The first rule that finds anything decides:

1. What the answer comes to ("the answer is C", "final answer: C", a field for it): the last one.
2. Letters that stand for options ("(B)", "Option B", "B."), the denied ones ("not B") left out.
   "A" before a word is an article, a small letter counts only where it is the whole answer.
3. Options written out, the denied ones left out.

One letter found is the answer; several, or none, are no answer. So is a letter beside another
option's name ("A. Arson" where A is something else). A restated list of options names none.
"""

import re
from collections.abc import Iterable, Sequence

from alignment.responses.protocol import LetteredResponse
from alignment.responses.rules.cleaning import plain, strip_markup
from alignment.responses.rules.fields import data_fields
from server.concepts.probes import letters

_LETTER_KEYS = frozenset({"letter", "option", "choice", "selected option", "selected", "pick"})
_ALONE = re.compile(r"^\W*([A-Za-z])(?:[\W_]+\1)*\W*$")
_MARK = r"[\[(\"']*([A-Z])(?![A-Za-z'])[\])\"']*"
_FINAL = re.compile(
    rf"\b(?:[Aa]nswer|[Cc]hoice|[Cc]onclusion|[Tt]herefore|[Oo]verall)"
    rf"(?: is| would be| must be|\s*:|,)?"
    rf"\s*(?:[Oo]ption |[Ll]etter )?{_MARK}(?=[\s.,:;!)]|$)(?! or\b)"
)
_LETTER = re.compile(
    r"(?:\b(?:[Oo]ption|[Ll]etter|[Cc]hoice|[Aa]nswer) |[\[(])\b([A-Z])\b|"
    r"\b([A-Z])(?=[.):,;!?\]]|$|\s*\n)|"
    r"\b([B-HJ-Z])\b(?!')|"
    r"\b(A)(?= (?:is|are|or|and|fits|because|best|looks|seems|B)\b)|"
    r"\b(?:is|be|choose|pick|say|to|with|select|and|or) (A)(?=[\s.,;]*(?:$|\n|because|since|as\b))"
)
_DENIED = re.compile(
    r"\b(?:not|neither|nor|no|never|rather than|instead of|unlike|thought of|excludes?|than)"
    r"(?: [\w-]+){0,3}\W*$",
    re.IGNORECASE,
)
_NONE_OF = re.compile(r"\bnone of (?:the above|these|them|the options)\b", re.IGNORECASE)


class RuleLetters:
    """Reads written answers to lettered questions by rules."""

    name = "rules-letters-1"

    async def choose(self, responses: Sequence[LetteredResponse]) -> list[str | None]:
        """The letters chosen; raises `ValueError` for a response without a text."""
        return [self.read(response) for response in responses]

    def read(self, response: LetteredResponse) -> str | None:
        """The letter of one answer; raises `ValueError` if it has no text."""
        if response.text is None:
            raise ValueError("rules read written answers, and this one has no text")
        options = dict(zip(letters(len(response.options)), response.options, strict=True))
        text = strip_markup(response.text)
        for part in (*_answer_fields(text), _without_list(text, options)):
            chosen = _choice(part, options)
            if chosen is not None:
                return chosen
        return None


def _answer_fields(text: str) -> list[str]:
    return [
        field.value
        for field in data_fields(text) or ()
        if field.is_answer or field.key in _LETTER_KEYS
    ]


def _without_list(text: str, options: dict[str, str]) -> str:
    """The text without the options, where the list is repeated; a single one may be the choice."""
    entries = [
        re.compile(rf"\(?\b{letter}\b[).:]?\s*{re.escape(name)}\b[.,;]?", re.IGNORECASE)
        for letter, name in options.items()
    ]
    if sum(entry.search(text) is not None for entry in entries) < min(3, len(options)):
        return text
    for entry in entries:
        text = entry.sub("\n", text, count=1)
    return text


def _choice(text: str, options: dict[str, str]) -> str | None:
    alone = _ALONE.match(text)
    if alone:
        return alone[1].upper() if alone[1].upper() in options else None
    final = _known((match[1] for match in _FINAL.finditer(text)), options)
    if final:
        return _unless_misnamed(final[-1], text, options)
    named = {
        letter
        for match in _LETTER.finditer(text)
        if not _DENIED.search(_clause_before(text, match.start()))
        for letter in _known((group for group in match.groups() if group), options)
    }
    if named:
        return _unless_misnamed(named.pop(), text, options) if len(named) == 1 else None
    written = _written_out(text, options)
    return written.pop() if len(written) == 1 else None


def _known(found: Iterable[str], options: dict[str, str]) -> list[str]:
    return [letter for letter in found if letter in options]


def _unless_misnamed(letter: str, text: str, options: dict[str, str]) -> str | None:
    """The letter, unless the name of another option stands right behind it."""
    for other, name in options.items():
        wrong = rf"\b{letter}\b[\s.:),\]-]{{1,3}}{re.escape(name)}\b"
        if other != letter and re.search(wrong, text, re.IGNORECASE):
            return None
    return letter


def _written_out(text: str, options: dict[str, str]) -> set[str]:
    found: set[str] = set()
    words = plain(text)
    # The longest names first, so that one inside another is not counted with it.
    for letter, name in sorted(options.items(), key=lambda item: -len(item[1])):
        for match in re.finditer(rf"(?<!\w){re.escape(plain(name))}(?:s|es)?(?!\w)", words):
            if not _DENIED.search(_clause_before(words, match.start())):
                found.add(letter)
        words = words.replace(plain(name), " \x00 ")
    if not found and _NONE_OF.search(text):
        found = {letter for letter, name in options.items() if name.lower().startswith("none")}
    return found


def _clause_before(text: str, end: int) -> str:
    return re.split(r"[.;:,!?\n]|\bbut\b", text[:end])[-1]
