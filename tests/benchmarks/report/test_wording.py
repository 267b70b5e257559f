import pytest

from benchmarks.report.wording import clipped, estimate, number, rate_per_s, signed
from benchmarks.stats import Estimate


@pytest.mark.parametrize(
    ("value", "shown"), [(0.5, "0.500"), (1.0, "1.000"), (0.0, "0.000"), (None, "unknown")]
)
def test_figures_have_three_decimals_and_unknown_is_no_zero(
    value: float | None, shown: str
) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.25, "+0.250"),
        (-0.25, "\N{MINUS SIGN}0.250"),
        (0.0, "0.000"),
        (-0.0001, "0.000"),
        (None, "unknown"),
    ],
)
def test_differences_carry_a_sign_but_zero_does_not(value: float | None, shown: str) -> None:
    assert signed(value) == shown


def test_an_estimate_without_an_interval_stands_alone() -> None:
    assert estimate(Estimate(0.5, None, None)) == "0.500"
    assert estimate(Estimate(0.5, 0.4, 0.6)) == "0.500 (0.400 to 0.600)"


@pytest.mark.parametrize(
    ("value", "shown"), [(1234.5, "1,234"), (20.04, "20"), (0.7691, "0.769"), (None, "unknown")]
)
def test_speeds_have_three_digits(value: float | None, shown: str) -> None:
    assert rate_per_s(value) == shown


def test_cut_text_is_one_line_and_says_that_it_was_cut() -> None:
    assert clipped("one\ntwo\x1b[31m  three", 40) == "one two [31m three"
    assert clipped("abcdef", 4) == "abc\N{HORIZONTAL ELLIPSIS}"
