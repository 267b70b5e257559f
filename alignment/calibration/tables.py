"""What a calibration changes, as tables on a terminal."""

from rich.table import Table

from alignment.bootstrap import Estimate
from alignment.calibration.calibrate import CalibrationFit, all_groups
from alignment.calibration.groups import GroupFit, Quality
from server.concepts.calibration import JudgementCalibration, NamesCalibration


def calibration_tables(fit: CalibrationFit, *, title: str) -> list[Table]:
    """How far off each group is before and after, and where a judgement's threshold should lie."""
    errors = Table(title=f"{title}; after: cross-fitted", title_justify="left")
    for column in ("", "n", "fitted", "", "ECE", "by chance", "Brier", "NLL", "accuracy"):
        errors.add_column(column, no_wrap=True)
    for group in all_groups(fit):
        counted = f"{group.examples}" + (f" +{group.no_answer}" if group.no_answer else "")
        errors.add_row(group.group, counted, "", "before", *_quality(group.before))
        errors.add_row("", "", _values(group), "after", *_quality(group.after), end_section=True)
    thresholds = Table(
        title="Balanced accuracy of the judgement, and the threshold where it is highest",
        title_justify="left",
    )
    for column in ("", "", "at 0.5", "highest", "at"):
        thresholds.add_column(column, no_wrap=True)
    for modality in (fit.pictures, fit.words):
        if modality is None:
            continue
        judgement = modality.judgement
        for when, quality in (("before", judgement.before), ("after", judgement.after)):
            best = quality.best
            thresholds.add_row(
                judgement.group if when == "before" else "",
                when,
                f"{quality.accuracy:.3f}",
                "" if best is None else f"{best.balanced_accuracy:.3f}",
                "" if best is None else f"{best.at:.3f}",
                end_section=when == "after",
            )
    return [errors, thresholds]


def _values(group: GroupFit[JudgementCalibration] | GroupFit[NamesCalibration]) -> str:
    if group.values == type(group.values)():
        return "nothing helps"
    bias = getattr(group.values, "bias", 0.0)
    return f"T {group.values.temperature:.3f}" + (f", bias {bias:+.3f}" if bias else "")


def _quality(quality: Quality) -> tuple[str, ...]:
    return (
        _estimate(quality.ece),
        f"{quality.ece_by_chance:.3f}",
        f"{quality.brier:.3f}",
        f"{quality.log_loss:.3f}",
        f"{quality.accuracy:.3f}",
    )


def _estimate(found: Estimate) -> str:
    if found.value is None or found.low is None or found.high is None:
        return "unknown"
    return f"{found.value:.3f} ({found.low:.3f} - {found.high:.3f})"
