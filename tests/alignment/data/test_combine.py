"""Unsafe pictures and as many safe ones."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from alignment.data.combine import combine
from alignment.data.manifest import ImageSet, read_image_set

Make = Callable[..., ImageSet]


@pytest.fixture
def make(tmp_path: Path, png: Callable[[int], bytes]) -> Make:
    """A set of so many unsafe and safe pictures, its splits given or not."""

    def make(name: str, unsafe: int, safe: int, splits: str = "") -> ImageSet:
        folder = tmp_path / name
        folder.mkdir()
        with (folder / "manifest.jsonl").open("w") as manifest:
            for number in range(unsafe + safe):
                is_unsafe = number < unsafe
                line = {
                    "id": f"{number}",
                    "file": f"{number}.png",
                    "label": "Unsafe" if is_unsafe else "Safe",
                    "concept": "Arson" if is_unsafe else "apple",
                    "group": f"{number}",
                } | ({"split": splits.split()[number]} if splits else {})
                manifest.write(json.dumps(line) + "\n")
                (folder / f"{number}.png").write_bytes(png(len(name) * 1000 + number))
        return read_image_set(folder)

    return make


def counts(images: ImageSet) -> Counter[tuple[str, str | None]]:
    return Counter((example.label, example.split) for example in images.examples)


def test_as_many_safe_as_unsafe(make: Make, tmp_path: Path) -> None:
    unsafe, safe = make("unsafe", 6, 2), make("safe", 3, 20)
    images = combine(unsafe, safe, cache_dir=tmp_path)
    assert counts(images) == {("Unsafe", None): 6, ("Safe", None): 6}
    assert images.name == "unsafe+safe"
    assert images.notes == ()
    pixels = {images.open(example).tobytes() for example in images.examples}
    assert {unsafe.open(example).tobytes() for example in unsafe.examples} < pixels
    assert len({example.group for example in images.examples}) == 12


def test_the_seed_chooses_the_safe_ones(make: Make, tmp_path: Path) -> None:
    unsafe, safe = make("unsafe", 5, 0), make("safe", 0, 40)
    first = combine(unsafe, safe, cache_dir=tmp_path)
    assert combine(unsafe, safe, cache_dir=tmp_path) == first
    assert combine(unsafe, safe, seed=1, cache_dir=tmp_path).sha256 != first.sha256


def test_too_few_safe_ones_are_all_taken_and_said(make: Make, tmp_path: Path) -> None:
    images = combine(make("unsafe", 6, 0), make("safe", 0, 4), cache_dir=tmp_path)
    assert counts(images) == {("Unsafe", None): 6, ("Safe", None): 4}
    assert images.notes == ("safe pictures from safe: 4 of 6 wanted",)


def test_each_split_is_balanced_for_itself(make: Make, tmp_path: Path) -> None:
    unsafe = make("unsafe", 5, 0, "train train train test test")
    safe = make("safe", 0, 9, "train " * 5 + "test " * 4)
    assert counts(combine(unsafe, safe, cache_dir=tmp_path)) == {
        ("Unsafe", "train"): 3,
        ("Unsafe", "test"): 2,
        ("Safe", "train"): 3,
        ("Safe", "test"): 2,
    }


@pytest.mark.parametrize("unsafe_is_split", [True, False])
def test_a_set_without_splits_gets_them_beside_one_that_has(
    make: Make, tmp_path: Path, unsafe_is_split: bool
) -> None:
    splits = "train " * 8 + "test " * 2
    unsafe = make("unsafe", 10, 0, splits if unsafe_is_split else "")
    safe = make("safe", 0, 10, "" if unsafe_is_split else splits)
    assert counts(combine(unsafe, safe, cache_dir=tmp_path)) == {
        ("Unsafe", "train"): 8,
        ("Unsafe", "test"): 2,
        ("Safe", "train"): 8,
        ("Safe", "test"): 2,
    }
