"""The set that ships: it can be read, measured and given away."""

from collections import Counter

import pytest

from alignment.data.manifest import ImageSet
from alignment.data.open_set import (
    MAX_OPEN_BYTES,
    OPEN_LICENCES,
    OPEN_STYLES,
    open_set_folder,
    read_open_set,
)
from alignment.data.open_set_credits import load_credits


@pytest.fixture(scope="module")
def open_set() -> ImageSet:
    return read_open_set()


def test_it_holds_safe_and_unsafe_drawings_of_the_test_split(open_set: ImageSet) -> None:
    labels = Counter(example.label for example in open_set.examples)

    assert labels == {"Safe": 202, "Unsafe": 80}
    assert {example.split for example in open_set.examples} == {"test"}
    assert {example.style for example in open_set.examples} == set(OPEN_STYLES)


def test_its_unsafe_part_covers_all_categories_but_the_sexual(open_set: ImageSet) -> None:
    categories = {example.category for example in open_set.examples if example.unsafe}

    assert len(categories) == 8
    assert "Sexual" not in categories


def test_every_picture_passes_the_decoder_of_the_service(open_set: ImageSet) -> None:
    pictures = [open_set.open(example) for example in open_set.examples]

    assert {picture.mode for picture in pictures} == {"RGB"}
    assert all(160 <= side <= 256 for picture in pictures for side in picture.size)


def test_it_stays_small(open_set: ImageSet) -> None:
    sizes = [open_set.path_of(example).stat().st_size for example in open_set.examples]

    assert sum(sizes) <= MAX_OPEN_BYTES


def test_every_picture_is_under_the_licence_of_its_credited_package(open_set: ImageSet) -> None:
    page = (open_set_folder() / "ATTRIBUTION.md").read_text(encoding="utf-8")

    for example in open_set.examples:
        package, _, version = example.source.removeprefix("npm:").split("#")[0].rpartition("@")
        collection = load_credits().of(package, version)
        assert collection is not None, example.id
        assert example.license == collection.license
        assert example.license in OPEN_LICENCES
        assert f"`{package}` {version}" in page
        assert collection.link in page
        assert collection.license_link in page
        assert collection.notice in page


def test_the_readme_counts_what_lies_there(open_set: ImageSet) -> None:
    readme = (open_set_folder() / "README.md").read_text(encoding="utf-8")
    concepts = Counter(example.concept for example in open_set.examples if example.unsafe)
    names = {example.concept for example in open_set.examples if not example.unsafe}

    for concept, count in concepts.items():
        assert f"{concept} ({count})" in readme
    assert f"{len(names)} names of everyday things (202)" in readme
    assert f"{75 - len(concepts)} of the 75 concepts have no picture" in readme
