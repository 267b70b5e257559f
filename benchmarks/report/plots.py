"""All plots of a report, by the section of the page that they stand in.

Figures are Matplotlib `Figure` objects drawn without pyplot: nothing outlives a report.
"""

from collections.abc import Mapping, Sequence

from benchmarks.capabilities.tasks import Suite
from benchmarks.report.columns import Column, aspects_of
from benchmarks.report.confusion_plot import confusion_plots
from benchmarks.report.gap_plots import category_gap_plots, concept_gap_plots
from benchmarks.report.probability_plots import distribution_plots, reliability_plots
from benchmarks.report.rate_plots import (
    category_plots,
    general_plots,
    mode_plots,
    no_answer_plots,
    question_plots,
)
from benchmarks.report.style import Plot, drawing_style

_SUITES: tuple[Suite, ...] = ("perception", "alignment", "text", "context")


def draw_plots(columns: Sequence[Column]) -> Mapping[str, list[Plot]]:
    """The plots of each section, by the section's id; sections without a plot have none."""
    with drawing_style():
        return {
            **{suite: _of_suite(suite, columns) for suite in _SUITES},
            "gap": category_gap_plots(columns),
            "gap-concepts": concept_gap_plots(columns),
            "confusions": confusion_plots(columns),
            "probabilities": [*reliability_plots(columns), *distribution_plots(columns)],
            "modes": mode_plots(columns),
            "general": general_plots(columns),
            "no-answer": no_answer_plots(columns),
        }


def _of_suite(suite: Suite, columns: Sequence[Column]) -> list[Plot]:
    draw = question_plots if suite == "context" else category_plots
    return [plot for aspect in aspects_of(columns, suite) for plot in draw(aspect, columns)]
