"""Limits as an operator writes them: ``600/minute``, or several as ``10/second; 5000/day``."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limits import RateLimitItem


def parse_limits(terms: str) -> tuple["RateLimitItem", ...]:
    """What `terms` say; raises `ValueError` for anything that is no limit."""
    from limits import parse_many

    problem = f"{terms!r} is no rate limit; write one as 600/minute, or 10/second; 5000/day"
    try:
        found = tuple(parse_many(terms))
    except ValueError as error:
        raise ValueError(problem) from error
    if not found or any(item.amount < 1 for item in found):
        raise ValueError(problem)
    return found


def checked_limits(terms: str | None) -> str | None:
    """`terms`, if they can be read; raises `ValueError`."""
    if terms is not None:
        parse_limits(terms)
    return terms
