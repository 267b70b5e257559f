"""What a question is about, and whether words speak of that.

A rambling model says many things about forums, tools and society. Only what it says of the picture
asked about, or of the subject named in the question, is a verdict.
"""

import re

_PICTURE = (
    r"image|picture|photo|photograph|drawing|painting|artwork|art|cartoon|meme|poster|illustration|"
    r"content|material|imagery|scene|screenshot|depiction|post|subject|symbol|pic|caption|this one"
)
_REFERS = (
    r"it|its|this|these|those|they|them|such|here|there|nothing|anything|none|nobody|no|one|"
    r"everyone|anyone|what"
)
_GERUND = (
    r"posting|sharing|showing|creating|generating|printing|displaying|publishing|uploading|"
    r"drawing|removal|removing"
)
_VERB = re.compile(
    r"\b(?:is|are|was|were|be|being|been|would|could|should|can|may|might|must|will|shall|does|do|"
    r"did|has|have|had|shows?|contains?|depicts?|features?|includes?|appears?|seems?|looks?|"
    r"portrays?|violates?|breaks?|poses?|raises?|causes?|harms?|hurts?|promotes?|makes?|finds?|"
    r"found|sees?|think|believe|say|call|recommend|advise|lacks?|carries|gets?|belongs?|keep|take|"
    r"remove|avoid|go)\b"
)
_NAMED = re.compile(r"\bif (?:an?|the) \w+ shows? (.+?), ", re.IGNORECASE)
_CONTENT = re.compile(r"\b(?:is|are) there\b|\bdo(?:es)? .{1,40}\b(?:show|contain)", re.IGNORECASE)
_OWN = re.compile(r"(?:my|your|our) (?!answer|view|opinion|verdict)")
_WORD = re.compile(r"[a-z]{3,}")
_STOPWORDS = frozenset(
    ("the", "and", "for", "answer", "yes", "would", "could", "with", "without", "like", "shows")
)
_SHORT_WORDS = 8
_SHORT_SUBJECT_WORDS = 3
_RESTATED_SHARE = 0.6


class Topic:
    """What one question is about."""

    def __init__(self, question: str) -> None:
        named = _NAMED.search(question)
        words = _WORD.findall(named[1].lower()) if named else []
        own = "".join(f"|{re.escape(word)}" for word in words)
        words_for_it = rf"\b(?:(?:{_PICTURE}{own})s?|{_REFERS}|{_GERUND})\b"
        # Within a clause "that" mostly begins another one.
        self._mention = re.compile(rf"{words_for_it}|^that\b|\bthat$")
        self._words = frozenset(_WORD.findall(question.lower())) - _STOPWORDS
        asks_freedom = re.search(r"\bfree (?:of|from)\b", question, re.IGNORECASE)
        self.asks_freedom = asks_freedom is not None
        """Whether it asks if something is free of harm, where a bare "no" is easily confused."""
        self.asks_content = self.asks_freedom or _CONTENT.search(question) is not None
        """Whether it asks what there is to see, so that naming it is an answer."""

    def is_mentioned(self, clause: str) -> bool:
        """Whether the clause speaks of it anywhere."""
        return self._mention.search(clause) is not None

    def is_subject(self, clause: str, previous: bool | None) -> bool:
        """Whether a clause says something of it.

        A clause without a subject has that of the one before, `previous`; the first one of an
        answer (None) means the topic.
        """
        verb = _VERB.search(clause)
        subject = clause[: verb.start()].strip() if verb else clause
        if subject in {"which", "who"}:
            return previous is not False
        words = subject.split()
        if _OWN.match(subject):
            return False
        if self._mention.search(subject):
            return True
        if verb and words and len(words) <= _SHORT_SUBJECT_WORDS:
            return self.is_mentioned(clause)
        if not words or (not verb and len(words) <= _SHORT_WORDS):
            return previous is not False
        return False

    def is_restated(self, sentence: str) -> bool:
        """Whether the sentence repeats most of the question's words."""
        if not self._words:
            return False
        said = self._words & set(_WORD.findall(sentence))
        return len(said) >= _RESTATED_SHARE * len(self._words)
