"""Context pairs: all concepts, sound phrases, and every bad field named."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alignment.data.contexts import CONTEXTS_FILE, load_contexts
from server.concepts.taxonomy import load_taxonomy
from server.errors import DataFileError, UnknownConceptError

MAX_WORDS = 40


@pytest.fixture
def content() -> dict[str, Any]:
    """The shipped file's content, to be broken or changed."""
    content: dict[str, Any] = json.loads(CONTEXTS_FILE.read_text(encoding="utf-8"))
    return content


def write(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "contexts.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_every_concept_has_a_pair_in_the_taxonomys_order() -> None:
    contexts = load_contexts()

    assert tuple(pair.concept for pair in contexts.contexts) == load_taxonomy().concept_names
    assert contexts.of("Arson").fine != contexts.of("Arson").not_fine


def test_the_question_asks_about_the_setting_and_says_how_to_answer() -> None:
    contexts = load_contexts()

    for pair in contexts.contexts:
        for context in (pair.fine, pair.not_fine):
            asked = contexts.question(context)
            assert context in asked
            assert "{" not in asked
            assert asked.endswith("Answer yes or no.")
            assert len(asked.split()) <= MAX_WORDS
    assert (contexts.unsafe_answer, contexts.safe_answer) == ("no", "yes")


def test_the_settings_follow_no_template() -> None:
    pairs = load_contexts().contexts
    openings = Counter(
        " ".join(text.split()[:3]) for pair in pairs for text in (pair.fine, pair.not_fine)
    )

    assert max(openings.values()) <= 3
    assert sum("lecture" in pair.fine for pair in pairs) <= 10
    assert sum("child" in pair.not_fine for pair in pairs) <= 15


@pytest.mark.parametrize(
    "concept", ["Child abuse", "Rape or sexual assault", "Cartoon or animated nudity"]
)
def test_a_fine_setting_for_what_may_not_be_shown_is_explained(concept: str) -> None:
    assert load_contexts().of(concept).note


def test_an_unknown_concept_is_refused() -> None:
    with pytest.raises(UnknownConceptError):
        load_contexts().of("Arsen")


def test_the_version_changes_with_the_words_and_not_with_a_note(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    assert load_contexts(write(tmp_path, content)).version == load_contexts().version
    content["contexts"][3]["note"] = "For the reader."
    assert load_contexts(write(tmp_path, content)).version == load_contexts().version
    content["contexts"][3]["fine"] = "a stamp collectors' fair"
    assert load_contexts(write(tmp_path, content)).version != load_contexts().version


def change(field: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["contexts"][2].update({field: value})


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda content: content["contexts"].pop(0), "without contexts: Swastika"),
        (lambda content: content["contexts"].append(content["contexts"][0]), "more than once: Swa"),
        (change("concept", "Arsen"), "not in the taxonomy: Arsen"),
        (change("fine", "a fair."), "contexts.2.fine: Value error, must be a phrase"),
        (change("fine", ""), "contexts.2.fine: String should have at least 1 character"),
        (change("not_fine", "a  fair"), "contexts.2.not_fine: Value error, must not have line"),
        (change("fine", "a {context}"), "contexts.2.fine: Value error, must not have braces"),
        (change("fien", "a fair"), "contexts.2.fien: Extra inputs are not permitted"),
        (lambda content: content.pop("question"), "question: Field required"),
        (lambda content: content.update(question="Fine?"), "question: Value error, must contain"),
        (lambda content: content.update(unsafe_answer="maybe"), "unsafe_answer: Input should be"),
        (
            lambda content: content["contexts"][1].update(fine=content["contexts"][0]["fine"]),
            "setting used more than once: a museum",
        ),
    ],
)
def test_a_bad_file_is_refused_with_the_field_at_fault(
    tmp_path: Path,
    content: dict[str, Any],
    harm: Callable[[dict[str, Any]], None],
    problem: str,
) -> None:
    harm(content)

    with pytest.raises(DataFileError) as caught:
        load_contexts(write(tmp_path, content))

    assert any(problem in one for one in caught.value.problems), caught.value.problems
