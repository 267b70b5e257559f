"""The rule of the split, held against sets of any shape."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignment.data.errors import PictureFileError
from alignment.data.manifest import Example, ImageSet, read_image_set
from alignment.data.splits import (
    AlreadySplitError,
    assign_splits,
    report_on,
    split_by_concept,
    with_groups,
)

CONCEPTS = ("Swastika", "Arson", "Torture", "Gun violence", "")


@dataclass(frozen=True)
class Lot:
    """A group of near-duplicates: how many images of which concepts (None: safe)."""

    concepts: tuple[str | None, ...]


def examples_of(lots: list[Lot]) -> list[Example]:
    return [
        Example(
            id=f"{number}-{index}",
            file="a.png",
            label="Safe" if concept is None else "Unsafe",
            concept="apple" if concept is None else concept,
            group=f"g{number}",
        )
        for number, lot in enumerate(lots)
        for index, concept in enumerate(lot.concepts)
    ]


def stratum(example: Example) -> str:
    return example.concept if example.unsafe else "Safe"


PURE_LOTS = st.lists(
    st.builds(
        lambda concept, size: Lot((concept,) * size),
        st.sampled_from([*CONCEPTS, None]),
        st.integers(1, 6),
    ),
    min_size=1,
    max_size=60,
)
MIXED_LOTS = st.lists(
    st.builds(Lot, st.lists(st.sampled_from([*CONCEPTS, None]), min_size=1, max_size=4).map(tuple)),
    min_size=1,
    max_size=40,
)
SEEDS = st.integers(0, 2**32)


@given(MIXED_LOTS, SEEDS)
def test_no_group_is_on_both_sides_and_every_concept_is_trained_on(
    lots: list[Lot], seed: int
) -> None:
    examples = examples_of(lots)
    split_of = assign_splits(examples, seed=seed)
    assert split_of.keys() == {example.id for example in examples}
    sides = defaultdict(set)
    for example in examples:
        sides[example.group].add(split_of[example.id])
    assert all(len(side) == 1 for side in sides.values())
    trained = {stratum(one) for one in examples if split_of[one.id] == "train"}
    assert trained == {stratum(example) for example in examples}


@given(MIXED_LOTS, SEEDS, st.randoms())
def test_order_and_other_runs_change_nothing(lots: list[Lot], seed: int, dice: object) -> None:
    examples = examples_of(lots)
    first = assign_splits(examples, seed=seed)
    dice.shuffle(examples)  # type: ignore[attr-defined]
    assert assign_splits(examples, seed=seed) == first


@given(PURE_LOTS, SEEDS, st.sampled_from([0.1, 0.2, 0.5]))
def test_shares_are_off_by_half_a_group_at_most(
    lots: list[Lot], seed: int, test_share: float
) -> None:
    examples = examples_of(lots)
    split_of = assign_splits(examples, test_share=test_share, seed=seed)
    sizes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for example in examples:
        sizes[stratum(example)][example.group] += 1
    for name, groups in sizes.items():
        ones = [example for example in examples if stratum(example) == name]
        test = sum(split_of[example.id] == "test" for example in ones)
        smallest, largest = min(groups.values()), max(groups.values())
        if len(groups) == 1:
            assert test == 0
        else:
            off = abs(test - test_share * len(ones))
            assert off <= largest / 2 or test == smallest
            assert test >= smallest


@pytest.mark.parametrize(("images", "tested"), [(1, 0), (2, 1), (3, 1), (5, 1), (10, 2), (44, 9)])
def test_single_images_are_cut_as_the_paper_means_to(images: int, tested: int) -> None:
    examples = examples_of([Lot(("Arson",))] * images)
    split_of = assign_splits(examples)
    assert Counter(split_of.values())["test"] == tested


def test_the_seed_chooses() -> None:
    examples = examples_of([Lot(("Arson",))] * 20)
    drawn = {tuple(sorted(assign_splits(examples, seed=seed).items())) for seed in range(20)}
    assert len(drawn) > 15


def test_a_new_image_moves_no_other_from_test_to_train() -> None:
    """Each group has its own place in the order: a set may grow without being reshuffled."""
    examples = examples_of([Lot(("Arson",))] * 40)
    before, after = assign_splits(examples[:39]), assign_splits(examples)
    moved = [one for one in before if before[one] != after[one]]
    assert len(moved) <= 1


def test_a_group_is_not_taken_for_an_image_of_its_name() -> None:
    fields = {"file": "a.png", "label": "Unsafe", "concept": "Arson"}
    examples = [Example(id="x", **fields), Example(id="y", group="x", **fields)]
    assert sorted(assign_splits(examples).values()) == ["test", "train"]


def test_the_report_names_what_cant_be_tested() -> None:
    lots = [Lot(("Arson",) * 3), Lot(("",)), Lot((None,)), *[Lot(("Torture",))] * 5]
    examples = examples_of(lots)
    split_of = assign_splits(examples, seed=7)
    done = [one.model_copy(update={"split": split_of[one.id]}) for one in examples]
    report = report_on(done, test_share=0.2, seed=7)
    assert report.untested == ("Arson", "Unsafe (unknown concept)")
    assert report.by_concept["Torture"] == (4, 1)
    assert report.total == (9, 1)
    assert str(report) == (
        "9 train, 1 test, seed 7; untested, all in train: Arson, Unsafe (unknown concept)"
    )


@pytest.fixture
def unsplit(labelled_folder: Path) -> ImageSet:
    images = read_image_set(labelled_folder)
    return images.with_examples(one.model_copy(update={"split": None}) for one in images.examples)


def test_a_set_is_split_with_copies_together(unsplit: ImageSet) -> None:
    """The pictures 0 and 6 are the only swastikas; made copies, they can't be on both sides."""
    unsplit.open(unsplit.examples[0]).resize((90, 70)).save(unsplit.folder / "6.png")
    images, report = split_by_concept(unsplit, seed=1)
    split_of = {example.id: example.split for example in images.examples}
    assert split_of["p0"] == split_of["p6"] == "train"
    assert report.untested == ("Swastika",)
    assert report.by_concept["Arson"] == (1, 1)
    assert images.is_split
    assert images.sha256 != unsplit.sha256


def test_splits_that_are_there_are_kept(images: ImageSet) -> None:
    with pytest.raises(AlreadySplitError, match="data has splits already"):
        split_by_concept(images)


def test_a_picture_that_cant_be_compared_is_named(unsplit: ImageSet) -> None:
    (unsplit.folder / "3.png").write_bytes(b"")
    with pytest.raises(PictureFileError, match=r"3\.png: holds nothing"):
        with_groups(unsplit)
