"""The taxonomy of unsafe content: nine categories, 75 concepts, after UnsafeConcepts [S1].

Names keep the paper's spelling and capitalisation: they are keys in data sets, checkpoints and
records, so tidying them up would cut us off from all three.
"""

from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Self

from pydantic import Field, model_validator

from server.concepts.data_file import FrozenRecord, VersionedRecord, read_data_file
from server.errors import UnknownCategoryError, UnknownConceptError

TAXONOMY_FILE = Path(__file__).with_name("taxonomy.json")


class Category(FrozenRecord):
    """One category and its concepts, in the file's order."""

    name: str = Field(min_length=1)
    concepts: tuple[str, ...] = Field(min_length=1)


class Taxonomy(VersionedRecord):
    """All categories. A concept belongs to exactly one of them; order is the file's."""

    source: str
    categories: tuple[Category, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for kind, names in (("category", self.category_names), ("concept", self.concept_names)):
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise ValueError(f"{kind} named more than once: {', '.join(repeated)}")
        return self

    @cached_property
    def category_names(self) -> tuple[str, ...]:
        """The category names, in order."""
        return tuple(category.name for category in self.categories)

    @cached_property
    def concept_names(self) -> tuple[str, ...]:
        """All concept names, category by category."""
        return tuple(concept for category in self.categories for concept in category.concepts)

    def concepts_of(self, category: str) -> tuple[str, ...]:
        """The concepts of a category; raises `UnknownCategoryError`."""
        try:
            return self._concepts_by_category[category]
        except KeyError:
            raise UnknownCategoryError(category) from None

    def category_of(self, concept: str) -> str:
        """The category a concept belongs to; raises `UnknownConceptError`."""
        try:
            return self._category_by_concept[concept]
        except KeyError:
            raise UnknownConceptError(concept) from None

    @cached_property
    def _concepts_by_category(self) -> Mapping[str, tuple[str, ...]]:
        return MappingProxyType({category.name: category.concepts for category in self.categories})

    @cached_property
    def _category_by_concept(self) -> Mapping[str, str]:
        return MappingProxyType(
            {
                concept: category.name
                for category in self.categories
                for concept in category.concepts
            }
        )


@cache
def load_taxonomy() -> Taxonomy:
    """The shipped taxonomy, read once; it is frozen, so sharing it is safe."""
    return read_data_file(TAXONOMY_FILE, Taxonomy)
