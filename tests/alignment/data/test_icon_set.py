"""The train set that ships: it can be read, trained on and given away, and gives no test away."""

import json
from collections import Counter

import pytest

from alignment.data.build_icon_set import load_icon_credits
from alignment.data.icon_names import load_icon_names
from alignment.data.icon_set import (
    ICON_LICENCES,
    ICON_STYLES,
    MAX_ICON_SET_BYTES,
    HeldOutSymbols,
    icon_set_folder,
    read_icon_set,
    recurring,
    symbol_of,
)
from alignment.data.manifest import ImageSet
from alignment.data.near_duplicates import MAX_DISTANCE, perceptual_hash
from alignment.data.open_set import read_open_set
from alignment.data.sources import open_image_set


@pytest.fixture(scope="module")
def icon_set() -> ImageSet:
    return read_icon_set()


def test_it_holds_safe_and_unsafe_drawings_of_the_train_split(icon_set: ImageSet) -> None:
    labels = Counter(example.label for example in icon_set.examples)

    assert labels == {"Safe": 828, "Unsafe": 548}
    assert {example.split for example in icon_set.examples} == {"train"}
    assert {example.style for example in icon_set.examples} == set(ICON_STYLES)


def test_no_package_draws_for_one_label_alone(icon_set: ImageSet) -> None:
    labels: dict[str, set[str]] = {}
    for example in icon_set.examples:
        labels.setdefault(example.source.split("#")[0], set()).add(example.label)

    assert {package: len(found) for package, found in labels.items() if len(found) < 2} == {}


def test_no_symbol_of_the_open_set_is_in_it(icon_set: ImageSet) -> None:
    held_out = HeldOutSymbols(read_open_set().examples)

    assert [one.source for one in icon_set.examples if held_out.holds(symbol_of(one))] == []


def test_no_picture_is_a_near_duplicate_of_the_open_sets(icon_set: ImageSet) -> None:
    open_set = read_open_set()
    tested = [perceptual_hash(open_set.open(example)) for example in open_set.examples]
    close = [
        example.source
        for example in icon_set.examples
        for other in tested
        if (perceptual_hash_of(icon_set, example.id) ^ other).bit_count() <= MAX_DISTANCE
    ]

    assert close == []


_HASHES: dict[str, int] = {}


def perceptual_hash_of(images: ImageSet, id_: str) -> int:
    if not _HASHES:
        _HASHES.update((one.id, perceptual_hash(images.open(one))) for one in images.examples)
    return _HASHES[id_]


def test_it_stays_small(icon_set: ImageSet) -> None:
    sizes = [icon_set.path_of(example).stat().st_size for example in icon_set.examples]

    assert sum(sizes) <= MAX_ICON_SET_BYTES


def test_every_picture_is_under_the_licence_of_its_credited_package(icon_set: ImageSet) -> None:
    page = (icon_set_folder() / "ATTRIBUTION.md").read_text(encoding="utf-8")
    lines = (icon_set_folder() / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    authors = {line["id"]: line["author"] for line in map(json.loads, lines)}

    for example in icon_set.examples:
        source, _, icon = example.source.removeprefix("npm:").partition("#")
        package, _, version = source.rpartition("@")
        collection = load_icon_credits().of(package, version)
        assert collection is not None, example.id
        assert example.license == collection.license
        assert example.license in ICON_LICENCES
        assert authors[example.id] == collection.author_of(icon)
        assert f"`{package}` {version}" in page
        assert collection.notice in page


def test_the_manifest_hashes_what_lies_there(icon_set: ImageSet) -> None:
    lines = (icon_set_folder() / "manifest.jsonl").read_text(encoding="utf-8").splitlines()

    assert {line["id"]: line["sha256"] for line in map(json.loads, lines)} == dict(
        icon_set.image_sha256
    )


def test_the_readme_counts_what_lies_there(icon_set: ImageSet) -> None:
    readme = (icon_set_folder() / "README.md").read_text(encoding="utf-8")
    concepts = Counter(example.concept for example in icon_set.examples if example.unsafe)
    names = {example.concept for example in icon_set.examples if not example.unsafe}

    for concept, count in concepts.items():
        assert f"{concept} ({count})" in readme
    assert f"{len(names)} names of everyday things (828)" in readme
    assert f"{75 - len(concepts)} of the 75 concepts have no picture" in readme


def test_it_was_built_from_the_list_of_names_that_ships(icon_set: ImageSet) -> None:
    record = json.loads((icon_set_folder() / "build.json").read_text(encoding="utf-8"))

    assert record["names"] == load_icon_names().version
    assert "open-set" in {one["name"] for one in record["clear_of"]}


@pytest.mark.parametrize("name", ["icon_set", "icon-set"])
def test_it_opens_by_its_name(name: str, icon_set: ImageSet) -> None:
    assert open_image_set(name).sha256 == icon_set.sha256


def test_symbols_drawn_seldom_can_be_left_out(icon_set: ImageSet) -> None:
    kept = recurring(icon_set, unsafe=6, safe=2)
    drawings = Counter((example.group, example.unsafe) for example in kept.examples)
    all_drawings = Counter((example.group, example.unsafe) for example in icon_set.examples)

    assert {label for _, label in drawings} == {False, True}
    assert all(count >= (6 if unsafe else 2) for (_, unsafe), count in drawings.items())
    assert drawings == {
        key: count for key, count in all_drawings.items() if count >= (6 if key[1] else 2)
    }
