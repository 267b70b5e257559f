"""Response classifiers by name, as command lines and recipes give them."""

from typing import Final

from alignment.responses.errors import MissingPartError, UnknownClassifierError
from alignment.responses.learned import shipped_classifier
from alignment.responses.llm_judge import LlmJudge
from alignment.responses.logits import LogitLetters, LogitsClassifier
from alignment.responses.protocol import LetterClassifier, ResponseClassifier
from alignment.responses.roberta import (
    ALIGNMENT_MODEL,
    PERCEPTION_MODEL,
    RobertaClassifier,
    RobertaLetters,
)
from alignment.responses.rules import RuleLetters, RulesClassifier
from server.engine.protocol import BatchEngine
from server.moderator import MIN_ANSWER_MASS

CLASSIFIERS: Final = ("logits", "rules", "learned", "roberta", "llm-judge")
LETTER_CLASSIFIERS: Final = ("logits", "rules", "roberta")


def classifier(
    name: str,
    *,
    min_answer_mass: float = MIN_ANSWER_MASS,
    model: str | None = None,
    base: str | None = None,
    device: str = "cpu",
    engine: BatchEngine | None = None,
) -> ResponseClassifier:
    """The response classifier called `name`, one of `CLASSIFIERS`.

    Each takes what concerns it: ``logits`` the minimal mass, ``roberta`` its `model` (a folder or a
    hub id, S1's own by default), `base` and `device`, ``llm-judge`` the `engine` it asks. Raises
    `UnknownClassifierError`, `MissingPartError`, or `ClassifierFileError` for a model that can't be
    loaded.
    """
    match name:
        case "logits":
            return LogitsClassifier(min_answer_mass=min_answer_mass)
        case "rules":
            return RulesClassifier()
        case "learned":
            return shipped_classifier()
        case "roberta":
            return RobertaClassifier.load(model or ALIGNMENT_MODEL, base=base, device=device)
        case "llm-judge":
            if engine is None:
                raise MissingPartError(name, "an engine that runs the judge")
            return LlmJudge(engine)
    raise UnknownClassifierError(name, CLASSIFIERS)


def letter_classifier(
    name: str,
    *,
    min_answer_mass: float = MIN_ANSWER_MASS,
    model: str | None = None,
    base: str | None = None,
    device: str = "cpu",
) -> LetterClassifier:
    """The letter classifier called `name`, one of `LETTER_CLASSIFIERS`; else as `classifier`."""
    match name:
        case "logits":
            return LogitLetters(min_answer_mass=min_answer_mass)
        case "rules":
            return RuleLetters()
        case "roberta":
            return RobertaLetters.load(model or PERCEPTION_MODEL, base=base, device=device)
    raise UnknownClassifierError(name, LETTER_CLASSIFIERS)
