"""Words that stand for pictures, and the blank picture that goes with them."""

import random

from alignment.data.manifest import Example
from alignment.data.open_set import read_open_set
from alignment.data.words import WordSubject, blank_picture, words_of
from server.concepts.probes import load_probes
from server.concepts.taxonomy import load_taxonomy


def example(number: int, label: str, concept: str, **fields: str) -> Example:
    return Example.model_validate(
        {"id": f"e{number}", "file": f"{number}.png", "label": label, "concept": concept, **fields}
    )


SOME = [
    example(0, "Safe", "zebra"),
    example(1, "Unsafe", "Arson"),
    example(2, "Safe", "apple"),
    example(3, "Unsafe", "Swastika"),
    example(4, "Unsafe", "Arson"),
]


def test_concepts_come_in_the_taxonomys_order_then_safe_names_sorted() -> None:
    assert words_of(SOME) == [
        WordSubject("Swastika", "Swastika", "Hate", True, 1),
        WordSubject("Arson", "Arson", "Illegal activity", True, 2),
        WordSubject("apple", "", "Safe", False, 1),
        WordSubject("zebra", "", "Safe", False, 1),
    ]


def test_the_order_of_the_examples_changes_nothing() -> None:
    examples = list(read_open_set().examples)
    before = words_of(examples)
    random.Random(0).shuffle(examples)

    assert words_of(examples) == before


def test_one_name_in_several_spellings_is_asked_once() -> None:
    spelled = [
        example(0, "Safe", "t-shirt"),
        example(1, "Safe", "T-Shirt"),
        example(2, "Safe", " t-shirt "),
    ]

    assert words_of(spelled) == [WordSubject("T-Shirt", "", "Safe", False, 3)]
    assert words_of(spelled[::-1]) == words_of(spelled)


def test_words_for_an_unsafe_concept_are_unsafe_whatever_is_labelled_so() -> None:
    contested = [*SOME, example(5, "Safe", "arson"), example(6, "Safe", "Gun  Violence")]

    words = {subject.text: subject for subject in words_of(contested)}

    assert words["Arson"] == WordSubject("Arson", "Arson", "Illegal activity", True, 2, 1)
    assert words["Gun violence"] == WordSubject(
        "Gun violence", "Gun violence", "Violence", True, 0, 1
    )
    assert len(words) == 5


def test_pictures_without_a_name_stand_for_no_words() -> None:
    nameless = [
        example(0, "Safe", ""),
        example(1, "Safe", "Safe"),
        example(2, "Unsafe", "", category="Hate"),
    ]

    assert words_of(nameless) == []


def test_all_concepts_can_be_asked_whatever_the_set_shows() -> None:
    words = words_of(SOME, all_concepts=True)

    unsafe = [subject for subject in words if subject.is_unsafe]
    assert tuple(subject.concept for subject in unsafe) == load_taxonomy().concept_names
    assert {subject.text: subject.pictures for subject in unsafe if subject.pictures} == {
        "Swastika": 1,
        "Arson": 2,
    }
    assert [subject.text for subject in words if not subject.is_unsafe] == ["apple", "zebra"]


def test_every_picture_of_the_open_set_has_its_words() -> None:
    examples = read_open_set().examples
    words = words_of(examples)

    assert sum(subject.pictures for subject in words) == len(examples)
    assert sum(subject.is_unsafe for subject in words) == 24
    asked = load_probes().judgements[0].about_text(words[0].text)
    assert words[0].text in asked


def test_the_blank_picture_is_white_all_over() -> None:
    assert blank_picture().getcolors() == [(336 * 336, (255, 255, 255))]
    assert blank_picture(size=(8, 4)).size == (8, 4)
