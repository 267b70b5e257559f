import subprocess
import sys
from pathlib import Path

import pytest

from alignment.responses.errors import (
    ClassifierFileError,
    MissingPartError,
    UnknownClassifierError,
)
from alignment.responses.factory import classifier, letter_classifier
from alignment.responses.llm_judge import LlmJudge
from alignment.responses.logits import LogitLetters, LogitsClassifier
from alignment.responses.rules import RuleLetters, RulesClassifier


def test_names_give_their_classifiers(judge_engine: type) -> None:
    assert isinstance(classifier("logits"), LogitsClassifier)
    assert isinstance(classifier("rules"), RulesClassifier)
    assert isinstance(classifier("llm-judge", engine=judge_engine(None)), LlmJudge)
    assert isinstance(letter_classifier("logits"), LogitLetters)
    assert isinstance(letter_classifier("rules"), RuleLetters)


def test_a_minimal_mass_reaches_the_logits() -> None:
    assert "0.25" in classifier("logits", min_answer_mass=0.25).name
    assert "0.25" in letter_classifier("logits", min_answer_mass=0.25).name


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(UnknownClassifierError, match="logits, rules, learned, roberta") as caught:
        classifier("bert")
    assert caught.value.name == "bert"
    with pytest.raises(UnknownClassifierError, match=r"logits, rules, roberta$"):
        letter_classifier("llm-judge")


def test_a_judge_needs_an_engine() -> None:
    with pytest.raises(MissingPartError, match="'llm-judge' needs an engine"):
        classifier("llm-judge")


@pytest.mark.parametrize("make", [classifier, letter_classifier])
def test_roberta_is_loaded_from_the_model_that_is_given(make: object, tmp_path: Path) -> None:
    with pytest.raises(ClassifierFileError) as caught:
        make("roberta", model=str(tmp_path))  # type: ignore[operator]
    assert caught.value.source == str(tmp_path)


def test_the_factory_is_imported_without_torch() -> None:
    code = "import sys, alignment.responses.factory as _; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "False"
