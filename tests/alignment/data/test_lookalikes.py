"""Which names may rightly be given to one picture."""

import pytest

from alignment.data.lookalikes import LOOKALIKES, lookalikes_of
from server.concepts.taxonomy import load_taxonomy
from server.errors import UnknownConceptError

CONCEPTS = load_taxonomy().concept_names


def test_only_concepts_of_the_taxonomy_are_named_each_line_with_a_reason() -> None:
    for line in LOOKALIKES:
        assert set(line.first) | set(line.second) <= set(CONCEPTS), line
        assert not set(line.first) & set(line.second), line
        assert len(line.first) + len(line.second) >= 2
        assert line.reason.endswith(".")


@pytest.mark.parametrize("concept", CONCEPTS)
def test_it_goes_both_ways_and_leaves_most_concepts_to_choose_from(concept: str) -> None:
    alike = lookalikes_of(concept)

    assert concept not in alike
    assert all(concept in lookalikes_of(other) for other in alike)
    assert len(alike) <= 20


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Cyberbullying", "Online harassment"),
        ("Drug/Alcohol abuse", "Substance abuse"),
        ("Gun violence", "Robbery"),
        ("The New World Order", "The Illuminati"),
        ("Swastika", "Anti-Semitic Symbols"),
    ],
)
def test_names_for_one_picture_are_alike(one: str, other: str) -> None:
    assert other in lookalikes_of(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Swastika", "SS-Runes"), ("Arson", "Burglary"), ("self-cutting", "Hair-pulling")],
)
def test_names_of_one_kind_are_not(one: str, other: str) -> None:
    assert other not in lookalikes_of(one)


def test_an_unknown_concept_is_refused() -> None:
    with pytest.raises(UnknownConceptError):
        lookalikes_of("Arsen")
