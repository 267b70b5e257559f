"""Train and test, concept by concept, near-duplicates together, the same for the same seed.

S1 cuts each concept at 80% of its images, rounded down, so a concept of one image has no train
image, and copies of one picture may land on both sides. The rule here:

1. What is assigned is a group of near-duplicates, never an image; an image without a group is its
   own.
2. A stratum is a concept; the unsafe images of unknown concept of one category are one, and so are
   all safe images together (their concepts are mostly single images). Each stratum is cut for
   itself, those of the fewest groups first; a group that touches several strata is assigned with
   the first of them and counts in all.
3. A stratum's groups are taken for the test split in an order drawn from the seed and the group's
   name, each if that brings the number of test images closer to the share asked for. So the number
   is off by at most half the largest group, unless the next two points want otherwise.
4. Every stratum keeps a group in train: learning nothing of a concept is worse than not testing it.
   A concept of a single group is therefore trained on and reported as untested.
5. Every stratum of two or more groups gets at least one into test, the smallest where none came by
   point 3, except where point 4 forbids it for a group shared between concepts.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from alignment.data.errors import DataError
from alignment.data.manifest import Example, ImageSet
from alignment.data.near_duplicates import near_duplicate_groups, perceptual_hash

TEST_SHARE = 0.2
SEED = 2024
"""The share and the seed of [S1]."""


class AlreadySplitError(DataError):
    """A set whose splits its owner made; they are kept."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} has splits already, and those are kept")
        self.name = name


class SplitCount(NamedTuple):
    """Images on either side."""

    train: int
    test: int


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What a split came to: counts of a concept's images and which concepts can't be tested."""

    seed: int
    test_share: float
    by_concept: dict[str, SplitCount]
    untested: tuple[str, ...]

    @property
    def total(self) -> SplitCount:
        """All images."""
        return SplitCount(
            sum(count.train for count in self.by_concept.values()),
            sum(count.test for count in self.by_concept.values()),
        )

    def __str__(self) -> str:
        left_out = f"; untested, all in train: {', '.join(self.untested)}" if self.untested else ""
        return f"{self.total.train} train, {self.total.test} test, seed {self.seed}{left_out}"


class SplitSet(NamedTuple):
    """A set with splits, and the report on them."""

    images: ImageSet
    report: SplitReport


def split_by_concept(
    images: ImageSet, *, test_share: float = TEST_SHARE, seed: int = SEED
) -> SplitSet:
    """Split a set that has no splits; near-duplicates are looked for where it has no groups.

    Raises `AlreadySplitError`, and `PictureFileError` for a picture that can't be compared.
    """
    if images.is_split:
        raise AlreadySplitError(images.name)
    grouped = images if any(one.group for one in images.examples) else with_groups(images)
    split_of = assign_splits(grouped.examples, test_share=test_share, seed=seed)
    done = grouped.with_examples(
        example.model_copy(update={"split": split_of[example.id]}) for example in grouped.examples
    )
    return SplitSet(done, report_on(done.examples, test_share=test_share, seed=seed))


def with_groups(images: ImageSet) -> ImageSet:
    """The set with a group of near-duplicates for every example (decodes every picture)."""
    group_of = near_duplicate_groups(
        {example.id: perceptual_hash(images.open(example)) for example in images.examples}
    )
    return images.with_examples(
        example.model_copy(update={"group": group_of[example.id]}) for example in images.examples
    )


def assign_splits(
    examples: Sequence[Example], *, test_share: float = TEST_SHARE, seed: int = SEED
) -> dict[str, Literal["train", "test"]]:
    """Each example's split by the rule above; nothing but ids, groups, names and seed counts."""
    members: defaultdict[str, list[Example]] = defaultdict(list)
    for example in examples:
        members[_group(example)].append(example)
    sizes = {
        group: Counter(_stratum(example) for example in ones) for group, ones in members.items()
    }
    groups_of: defaultdict[str, list[str]] = defaultdict(list)
    for group in sorted(members, key=lambda name: _draw(seed, name)):
        for stratum in sizes[group]:
            groups_of[stratum].append(group)

    test: set[str] = set()
    decided: set[str] = set()
    train_groups = {stratum: len(groups) for stratum, groups in groups_of.items()}

    def may_go(group: str) -> bool:
        return group not in decided and all(train_groups[one] > 1 for one in sizes[group])

    def send(group: str) -> None:
        test.add(group)
        decided.add(group)
        for one in sizes[group]:
            train_groups[one] -= 1

    for stratum in sorted(groups_of, key=lambda name: (len(groups_of[name]), name)):
        groups = groups_of[stratum]
        target = test_share * sum(sizes[group][stratum] for group in groups)
        taken = sum(sizes[group][stratum] for group in groups if group in test)
        for group in groups:
            size = sizes[group][stratum]
            if may_go(group) and taken + size / 2 <= target:
                send(group)
                taken += size
        if not taken and (free := [group for group in groups if may_go(group)]):
            send(min(free, key=lambda group: sizes[group][stratum]))
        decided.update(groups)
    return {
        example.id: "test" if group in test else "train"
        for group, ones in members.items()
        for example in ones
    }


def report_on(examples: Sequence[Example], *, test_share: float, seed: int) -> SplitReport:
    """Count a split's images; a concept is untested where it has unsafe images, none in test."""
    by_stratum: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for example in examples:
        by_stratum[_stratum(example)][example.split or ""] += 1
    unsafe = {_stratum(example) for example in examples if example.unsafe}
    return SplitReport(
        seed=seed,
        test_share=test_share,
        by_concept={
            name: SplitCount(by_stratum[name]["train"], by_stratum[name]["test"])
            for name in sorted(by_stratum)
        },
        untested=tuple(sorted(name for name in unsafe if not by_stratum[name]["test"])),
    )


def _group(example: Example) -> str:
    # The marks keep an image's id from being taken for the group of that name.
    return f"group {example.group}" if example.group else f"image {example.id}"


def _stratum(example: Example) -> str:
    if not example.unsafe:
        return "Safe"
    return example.concept or f"{example.category or 'Unsafe'} (unknown concept)"


def _draw(seed: int, group: str) -> tuple[bytes, str]:
    """A group's place in the order: its own draw, so other groups can't move it."""
    return hashlib.sha256(f"{seed}:{group}".encode()).digest(), group
