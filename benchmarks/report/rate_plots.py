"""Bars with intervals: rates by category, no answers, general ability, one token against written.

Bars count "no answer" as wrong, so they can only be too low; a diamond marks S1's other way, which
drops such answers, wherever the two differ.
"""

from collections.abc import Callable, Iterable, Sequence

from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from benchmarks.capabilities.schema import Rate, SuiteFigures
from benchmarks.report.bar_chart import ALSO_MARKER, Bar, BarRow, bar_chart
from benchmarks.report.columns import Aspect, Column, aspects_of, categories_of, data_names
from benchmarks.report.style import SERIES, Plot
from benchmarks.report.wording import (
    MODES,
    aspect_name,
    count,
    number,
    per_s,
    question_name,
    rate_per_s,
    suite_name,
)
from benchmarks.stats import Estimate

_VISIBLE = 0.0005
_ENDS = (0.1, 0.25, 0.5, 1.0)


def category_plots(aspect: Aspect, columns: Sequence[Column]) -> list[Plot]:
    """Rates by category of one aspect, a bar a record."""
    return _rate_plot(aspect, columns, "category", lambda one: one.by_category, categories_of)


def question_plots(aspect: Aspect, columns: Sequence[Column]) -> list[Plot]:
    """Rates by question of one aspect, a bar a record."""
    return _rate_plot(
        aspect,
        columns,
        "question",
        lambda one: {question_name(name): rate for name, rate in one.by_question.items()},
        lambda found: list(dict.fromkeys(name for one in found for name in one)),
    )


def _rate_plot(
    aspect: Aspect,
    columns: Sequence[Column],
    by: str,
    breakdown: Callable[[SuiteFigures], dict[str, Rate]],
    ordered: Callable[[Iterable[dict[str, Rate]]], list[str]],
) -> list[Plot]:
    measured = [(i, found) for i, one in enumerate(columns) if (found := one.figures(aspect))]
    indices = [index for index, _ in measured]
    parts = [breakdown(found) for _, found in measured]
    names = ordered(parts)
    rows = [_row(name, [part.get(name) for part in parts], indices) for name in names]
    if len(names) != 1:
        rows.append(_row("All", [found.overall for _, found in measured], indices))
    title = f"{aspect_name(aspect.suite, aspect.modality)}, {MODES[aspect.mode]}"
    has_other = any(bar is not None and bar.also is not None for row in rows for bar in row.bars)
    figure = bar_chart(
        title,
        data_names(columns),
        rows,
        legend=[*legend_of(columns, indices), *_other(has_other)],
        x_label="share right, no answer counted wrong (line: 95% interval)",
    )
    words = _words(rows, [columns[index].label for index in indices])
    name = f"{aspect.suite}-{aspect.modality}-{aspect.mode}"
    return [Plot(name, title, f"{title}: bars by {by}. {words}", figure)]


def no_answer_plots(columns: Sequence[Column]) -> list[Plot]:
    """How often each suite got no answer."""
    aspects = aspects_of(columns)
    rows = []
    for aspect in aspects:
        rates = [(f.overall if (f := column.figures(aspect)) else None) for column in columns]
        bars = tuple(
            None if one is None else _bar(one.no_answer_rate, SERIES[index])
            for index, one in enumerate(rates)
        )
        name = aspect_name(aspect.suite, aspect.modality)
        rows.append(BarRow(name, MODES[aspect.mode], bars))
    if not rows:
        return []
    title = "No answer"
    most = max((bar.high or bar.value or 0.0) for row in rows for bar in row.bars if bar)
    figure = bar_chart(
        title,
        data_names(columns),
        rows,
        legend=legend_of(columns, range(len(columns))),
        x_limits=(0.0, next(end for end in _ENDS if most <= end)),
        x_label="share of questions without an answer (line: 95% interval)",
    )
    words = _words(rows, [one.label for one in columns])
    return [Plot("no-answer", title, f"Share without an answer: {words}", figure)]


def general_plots(columns: Sequence[Column]) -> list[Plot]:
    """Scores of general ability, one plot a mode."""
    plots = []
    for mode in MODES:
        kinds = list(
            dict.fromkeys(
                (one.benchmark, one.subtask)
                for column in columns
                for one in column.record.figures.general
                if one.mode == mode
            )
        )
        if not kinds:
            continue
        rows = []
        for benchmark, subtask in kinds:
            bars: list[Bar | None] = []
            answers: list[int] = []
            for index, column in enumerate(columns):
                match = [
                    one
                    for one in column.record.figures.general
                    if (one.benchmark, one.subtask, one.mode) == (benchmark, subtask, mode)
                ]
                bars.append(_bar(match[0].score, SERIES[index]) if match else None)
                answers.extend(one.answers for one in match)
            name = f"{benchmark}: {subtask}" if subtask else benchmark
            rows.append(BarRow(name, counts(answers), tuple(bars)))
        title = f"General ability, {MODES[mode]}"
        figure = bar_chart(
            title,
            "scores from 0 to 1",
            rows,
            legend=legend_of(columns, range(len(columns))),
            x_label="mean score, no answer counted 0 (line: 95% interval)",
        )
        words = _words(rows, [one.label for one in columns])
        plots.append(Plot(f"general-{mode}", title, f"{title}: {words}", figure))
    return plots


def mode_plots(columns: Sequence[Column]) -> list[Plot]:
    """How often both modes say the same, and how many pictures a second each looks at."""
    plots = []
    suites = list(
        dict.fromkeys(one.suite for column in columns for one in column.record.figures.agreement)
    )
    if suites:
        rows = []
        for suite in suites:
            bars: list[Bar | None] = []
            answers: list[int] = []
            for index, column in enumerate(columns):
                match = [one for one in column.record.figures.agreement if one.suite == suite]
                bars.append(_bar(match[0].agree, SERIES[index]) if match else None)
                answers.extend(one.answers for one in match)
            rows.append(BarRow(suite_name(suite), counts(answers), tuple(bars)))
        title = "One token and written answers agree"
        figure = bar_chart(
            title,
            data_names(columns),
            rows,
            legend=legend_of(columns, range(len(columns))),
            x_label="share of same answers, where both modes answered (line: 95% interval)",
        )
        words = _words(rows, [one.label for one in columns])
        plots.append(Plot("mode-agreement", title, f"{title}: {words}", figure))
    rows = _speed_rows(columns)
    if rows:
        most = max(bar.value or 0.0 for row in rows for bar in row.bars if bar is not None)
        title = "Speed of the two modes"
        figure = bar_chart(
            title,
            "seconds of asking alone",
            rows,
            legend=legend_of(columns, range(len(columns))),
            x_limits=(0.0, most * 1.02 or 1.0),
            x_label="answers a second",
            shown=rate_per_s,
        )
        words = _words(rows, [one.label for one in columns], rate_per_s)
        plots.append(Plot("mode-speed", title, f"Answers a second: {words}", figure))
    return plots


def _speed_rows(columns: Sequence[Column]) -> list[BarRow]:
    rows = []
    for mode, name in MODES.items():
        speeds = [column.record.run.speed.get(mode) for column in columns]
        if not any(speeds):
            continue
        bars = tuple(
            None if one is None else Bar(per_s(one.answers, one.seconds), None, None, SERIES[index])
            for index, one in enumerate(speeds)
        )
        rows.append(BarRow(name, counts([one.answers for one in speeds if one]), bars))
    return rows


def legend_of(columns: Sequence[Column], shown: Sequence[int]) -> list[Patch | Line2D]:
    """A colour a record; one record alone needs none, the page and the title name it."""
    return [Patch(color=SERIES[i], label=columns[i].label) for i in shown if len(columns) > 1]


def _other(is_marked: bool) -> list[Line2D]:
    return [Line2D([], [], label="no answers dropped", **ALSO_MARKER)] if is_marked else []


def _row(name: str, rates: Sequence[Rate | None], indices: Sequence[int]) -> BarRow:
    bars = tuple(
        None if rate is None else _bar(rate.counted_wrong, SERIES[index], rate.dropped.value)
        for index, rate in zip(indices, rates, strict=True)
    )
    return BarRow(name, counts([rate.answers for rate in rates if rate is not None]), bars)


def _bar(found: Estimate, colour: str, also: float | None = None) -> Bar:
    differs = also is not None and found.value is not None and abs(also - found.value) > _VISIBLE
    return Bar(found.value, found.low, found.high, colour, also if differs else None)


def counts(answers: Sequence[int]) -> str:
    """How many answers a row rests on; a range where records differ."""
    if not answers:
        return ""
    low, high = min(answers), max(answers)
    return f"n {count(low)}" if low == high else f"n {count(low)} to {count(high)}"


def _words(
    rows: Sequence[BarRow],
    labels: Sequence[str],
    write: Callable[[float | None], str] = number,
) -> str:
    parts = []
    for row in rows:
        values = [
            f"{label} {write(bar.value)}" if len(labels) > 1 else write(bar.value)
            for label, bar in zip(labels, row.bars, strict=True)
            if bar is not None
        ]
        parts.append(f"{row.label} {', '.join(values)}")
    return "; ".join(parts) + "."
