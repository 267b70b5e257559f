import pytest

from server.cache.look_alikes import LookAlikes
from server.cache.near_duplicates import NearDuplicates, Neighbour
from server.concepts.verdict import Outcome
from server.ingest.pdq import PdqHash


def look(*set_bits: int, quality: int = 100) -> PdqHash:
    return PdqHash(sum(1 << bit for bit in set_bits), quality)


def test_the_nearest_that_is_near_enough_is_found() -> None:
    pictures = NearDuplicates(distance=2, max_pictures=10)
    pictures.add(look(0, 1, 2, 3), "far", version="m")
    pictures.add(look(0, 255), "near", version="m")
    pictures.add(look(64), "nearer", version="m")
    assert pictures.nearest(look(64, 128), version="m") == Neighbour("nearer", 1)
    assert pictures.nearest(look(64), version="m") == Neighbour("nearer", 0)
    assert pictures.nearest(look(70, 71, 72), version="m") is None


def test_pictures_judged_by_another_version_are_nothing_to_it() -> None:
    pictures = NearDuplicates(distance=31, max_pictures=10)
    pictures.add(look(1), "old", version="model-1")
    assert pictures.nearest(look(1), version="model-2") is None


def test_a_flat_picture_is_neither_remembered_nor_compared() -> None:
    pictures = NearDuplicates(distance=31, max_pictures=10)
    pictures.add(look(1, quality=49), "flat", version="m")
    assert len(pictures) == 0
    pictures.add(look(1), "clear", version="m")
    assert pictures.nearest(look(1, quality=49), version="m") is None


def test_only_the_latest_are_remembered() -> None:
    pictures = NearDuplicates(distance=0, max_pictures=3)
    for number in range(5):
        pictures.add(look(number), f"key-{number}", version="m")
    assert len(pictures) == 3
    found = [pictures.nearest(look(number), version="m") for number in range(5)]
    assert [one is not None for one in found] == [False, False, True, True, True]


def test_of_two_alike_the_unsafe_one_counts_first() -> None:
    alike = LookAlikes("all", distance=31, max_pictures=10)
    alike.add(look(1), "safe", "m", Outcome.SAFE)
    alike.add(look(1, 2, 3), "unsafe", "m", Outcome.UNSAFE)
    assert [one.key for one in alike.neighbours(look(1), "m")] == ["unsafe", "safe"]


def test_safe_pictures_count_only_where_that_is_wanted() -> None:
    alike = LookAlikes("unsafe", distance=31, max_pictures=10)
    alike.add(look(1), "safe", "m", Outcome.SAFE)
    assert list(alike.neighbours(look(1), "m")) == []


def test_there_are_none_without_a_use_for_them() -> None:
    with pytest.raises(ValueError, match="no use"):
        LookAlikes("off", distance=31, max_pictures=10)
