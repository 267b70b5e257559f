import pytest
from pydantic import ValidationError

from server.concepts.taxonomy import Taxonomy, load_taxonomy
from server.errors import UnknownCategoryError, UnknownConceptError


def test_the_nine_categories_hold_the_papers_number_of_concepts() -> None:
    counts = {category.name: len(category.concepts) for category in load_taxonomy().categories}

    assert counts == {
        "Hate": 10,
        "Harassment": 10,
        "Violence": 10,
        "Self-harm": 7,
        "Sexual": 7,
        "Shocking": 10,
        "Illegal activity": 9,
        "Deception": 10,
        "Public and personal health": 2,
    }
    assert len(load_taxonomy().concept_names) == 75


def test_names_keep_the_papers_capitalisation() -> None:
    names = load_taxonomy().concept_names

    assert {"KKK Hood and Cross", "sexual harassment", "self-burning", "demonic figure"} <= set(
        names
    )


def test_no_name_changes_without_a_new_version() -> None:
    # Checkpoints and records are keyed by these names: whoever changes one must mean to.
    assert load_taxonomy().version == "1-c5fda5f5"


def test_lookups_lead_from_concept_to_category_and_back() -> None:
    taxonomy = load_taxonomy()

    for concept in taxonomy.concept_names:
        assert concept in taxonomy.concepts_of(taxonomy.category_of(concept))


def test_unknown_names_are_refused_by_name() -> None:
    with pytest.raises(UnknownConceptError, match="kittens"):
        load_taxonomy().category_of("kittens")
    with pytest.raises(UnknownCategoryError, match="hate"):
        load_taxonomy().concepts_of("hate")


def test_the_taxonomy_is_read_once_and_frozen() -> None:
    taxonomy = load_taxonomy()

    assert load_taxonomy() is taxonomy
    with pytest.raises(ValidationError, match="frozen"):
        taxonomy.source = "elsewhere"  # type: ignore[misc]


def test_a_concept_in_two_categories_is_refused() -> None:
    with pytest.raises(ValidationError, match="concept named more than once: x"):
        Taxonomy.model_validate(
            {
                "revision": "1",
                "source": "test",
                "categories": [
                    {"name": "A", "concepts": ["x", "y"]},
                    {"name": "B", "concepts": ["x"]},
                ],
            }
        )
