"""The rule from label, category and proxy to level and type."""

import pytest

from alignment.data.manifest import Example
from alignment.safety.levels import GRAVITY, NO_CONCEPT, risk_of, risk_of_words
from alignment.safety.s2_types import S2_TYPE_OF, S2_TYPES
from server.concepts.risk import CLEAN, LEVELS
from server.concepts.taxonomy import load_taxonomy
from server.vlm.safety_shape import risk_types


def example(**fields: str) -> Example:
    return Example.model_validate({"id": "p", "file": "p.png", "label": "Unsafe", **fields})


@pytest.mark.parametrize(
    ("concept", "proxy", "level", "type_"),
    [
        ("Swastika", "direct", 3, "Hate"),
        ("Gun violence", "object", 3, "Violence"),
        ("Knife attacks", "weak", 1, "Violence"),
        ("Arson", "object", 2, "Illegal activity"),
        ("Counterfeiting", "weak", 1, "Illegal activity"),
        ("Smoking cessation", "direct", 1, "Public and personal health"),
        ("Smoking cessation", "weak", 1, "Public and personal health"),
        ("demonic figure", "", 2, "Shocking"),
        ("Pornography", "a word nobody knows", 3, "Sexual"),
    ],
)
def test_category_gives_the_level_and_a_weak_proxy_lowers_it(
    concept: str, proxy: str, level: int, type_: str
) -> None:
    label = risk_of(example(concept=concept, proxy=proxy))
    assert (label.level, label.type) == (level, type_)
    assert label.concepts == {concept}
    assert not label.is_clean


def test_a_safe_picture_is_clean_whatever_it_is_called() -> None:
    label = risk_of(example(label="Safe", concept="Gun violence", proxy="safe"))
    assert (label.level, label.type) == (0, CLEAN)
    assert label.concepts == {NO_CONCEPT}
    assert label.is_clean


def test_an_unsafe_picture_without_a_category_is_anything_but_clean() -> None:
    label = risk_of(example(concept=""))
    assert label.level is None
    assert label.type is None
    assert label.levels == {1, 2, 3}
    assert CLEAN not in label.types
    assert NO_CONCEPT not in label.concepts


def test_a_category_without_a_concept_leaves_its_own_concepts_open() -> None:
    label = risk_of_words(is_unsafe=True, category="Illegal activity", concept="")
    assert (label.level, label.type) == (2, "Illegal activity")
    assert label.concepts == set(load_taxonomy().concepts_of("Illegal activity"))


def test_every_category_has_a_gravity_between_one_and_three() -> None:
    assert set(GRAVITY) == set(load_taxonomy().category_names)
    assert all(1 <= level < LEVELS for level in GRAVITY.values())


def test_every_type_of_ours_has_one_of_s2s() -> None:
    assert set(S2_TYPE_OF) == set(risk_types())
    assert set(S2_TYPE_OF.values()) == set(S2_TYPES) - {"politics", "privacy"}
    assert S2_TYPE_OF[CLEAN] == CLEAN
