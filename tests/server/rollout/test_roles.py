"""Which content goes where depends on the content alone."""

from itertools import pairwise

import pytest

from server.rollout.roles import BUCKETS, Role, Roles, Share, bucket, is_in_share

CONTENTS = [f"{number:064x}" for number in range(2_000)]


def test_a_larger_share_holds_all_that_the_smaller_held() -> None:
    shares = [
        {one for one in CONTENTS if Share("m", percent).takes(one, "canary")}
        for percent in (0.0, 1.0, 20.0, 55.5, 100.0)
    ]
    assert all(smaller <= larger for smaller, larger in pairwise(shares))
    assert (shares[0], shares[-1]) == (set(), set(CONTENTS))


@pytest.mark.parametrize("percent", [1.0, 20.0, 50.0])
def test_a_share_is_as_large_as_it_says(percent: float) -> None:
    taken = sum(is_in_share(one, percent, salt="canary:m") for one in CONTENTS)
    # Five standard deviations of a binomial.
    spread = 5 * (len(CONTENTS) * percent / 100 * (1 - percent / 100)) ** 0.5
    assert abs(taken - len(CONTENTS) * percent / 100) < spread


def test_each_model_and_purpose_draws_its_own_share() -> None:
    drawn = [
        {one for one in CONTENTS if is_in_share(one, 50.0, salt=salt)}
        for salt in ("canary:a", "canary:b", "shadow:a")
    ]
    for one in drawn:
        for other in drawn:
            if one is not other:
                assert 0.4 < len(one & other) / len(one) < 0.6


def test_buckets_are_the_same_everywhere_and_always() -> None:
    assert bucket("ab" * 32, salt="canary:m") == 8942
    assert all(0 <= bucket(one, salt="x") < BUCKETS for one in CONTENTS)


def test_a_model_has_one_role() -> None:
    roles = Roles("a").with_share(Role.CANARY, Share("b", 5)).with_share(Role.SHADOW, Share("c", 9))
    assert [roles.role_of(name) for name in "abcd"] == ["default", "canary", "shadow", "standby"]
    assert [roles.percent_of(name) for name in "abc"] == [None, 5, 9]
    moved = roles.with_share(Role.SHADOW, Share("b", 7))
    assert (moved.canary, moved.shadow) == (None, Share("b", 7))


def test_a_promoted_canary_is_no_canary_and_can_be_rolled_back() -> None:
    roles = Roles("a").with_share(Role.CANARY, Share("b", 5))
    promoted = roles.promoted("b")
    assert promoted == Roles("b", previous="a")
    assert promoted.promoted("a") == Roles("a", previous="b")
    assert promoted.without("a") == Roles("b")
    assert roles.promoted("a") is roles
