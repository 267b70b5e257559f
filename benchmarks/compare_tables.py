"""A comparison as tables on a terminal, with a verdict in words on every line."""

import dataclasses

from rich.table import Table

from benchmarks.comparison import Comparison, Difference, Paired
from benchmarks.tables import estimate, number

_HOW = {"image": "", "blank": "blank picture", "words": "no picture"}


def compare_tables(comparison: Comparison) -> list[Table]:
    """What was tested, then the same with "no answer" dropped, as far as that differs."""
    tested = Table(
        title=(
            f"A: {comparison.a}\nB: {comparison.b}\n{comparison.data}; {comparison.common_tasks} "
            "questions put to both. No answer counts as wrong."
        ),
        caption=(
            "Asked: questions (groups: near-duplicate pictures, concepts for words); for a gap, "
            "pictures (concepts). Only A / B: questions that one alone got right. Intervals of "
            "95%: paired bootstrap over groups. p, corrected for all lines (Holm): McNemar's exact "
            "test over groups for right answers, the bootstrap's spread for an AUC, random swaps "
            "of concepts for a gap. A difference is shown where p < 0.05 and the interval leaves "
            "out 0. A smaller gap is better."
        ),
        title_justify="left",
        caption_justify="left",
    )
    for column in ("", "mode", "asked", "A", "B", "B - A", "only A / B", "p", "verdict"):
        tested.add_column(column, overflow="fold")
    for one in comparison.differences:
        tested.add_row(
            _name(one),
            one.mode,
            f"{one.tasks} ({one.groups})",
            number(one.counted_wrong.a),
            number(one.counted_wrong.b),
            _difference(one.counted_wrong),
            "" if one.only_a_right is None else f"{one.only_a_right} / {one.only_b_right}",
            _p(one.p_holm),
            one.verdict,
        )
    moved = [
        (one, one.dropped)
        for one in comparison.differences
        if one.dropped is not None and one.dropped != one.counted_wrong
    ]
    if not moved:
        return [tested]
    dropped = Table(
        title="No answer dropped, by each model its own: without a test, since the questions left "
        "differ.",
        title_justify="left",
    )
    for column in ("", "mode", "A", "B", "B - A"):
        dropped.add_column(column, overflow="fold")
    for one, paired in moved:
        dropped.add_row(
            _name(one), one.mode, number(paired.a), number(paired.b), _difference(paired)
        )
    return [tested, dropped]


def _name(one: Difference) -> str:
    among = "" if one.among == "all" else one.among
    if one.measure == "modality gap":
        parts = ["gap", _HOW[one.modality]]
    elif one.measure == "AUC of P(unsafe)":
        parts = [one.suite, _HOW[one.modality], "AUC"]
    else:
        parts = [one.benchmark or one.suite, _HOW[one.modality], among]
    return ", ".join(part for part in parts if part)


def _difference(paired: Paired) -> str:
    return estimate(dataclasses.asdict(paired.difference), signed=True)


def _p(p: float | None) -> str:
    if p is None:
        return "untested"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
