"""Reading and joining curves, without drawing."""

import json
from pathlib import Path

import pytest

from alignment.curves import (
    Curve,
    DifferentRecipesError,
    NoCurvesError,
    RunCurves,
    band_of,
    read_curves,
    require_one_recipe,
    smoothed,
)


def write(folder: Path, *lines: object, end: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + end)
    return folder


def test_figures_become_curves_and_parts_get_names(tmp_path: Path) -> None:
    run = write(
        tmp_path,
        {"step": 0, "kl": 0.5, "right_rate": None, "seconds": {"learn": 2}, "samples": ["a"]},
        {"step": 1, "kl": 1.5, "right_rate": 0.25, "seconds": {"learn": 3}},
    )
    curves = read_curves(run).curves

    assert curves["kl"] == Curve((0, 1), (0.5, 1.5))
    assert curves["right_rate"] == Curve((1,), (0.25,))
    assert curves["seconds/learn"] == Curve((0, 1), (2.0, 3.0))
    assert "samples" not in curves


def test_a_line_cut_short_and_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    run = write(tmp_path, {"step": 0, "kl": float("nan"), "loss": 1.0}, end='{"step": 1, "lo')

    assert read_curves(run).curves == {"loss": Curve((0,), (1.0,))}


def test_a_title_is_taken_from_the_runs_own_record(tmp_path: Path) -> None:
    run = write(tmp_path, {"step": 0, "loss": 1.0})
    record = {"recipe": {"name": "tiny", "seed": 7}, "data": {"name": "icons"}, "base": "a/b"}
    (run / "run.json").write_text(json.dumps(record))
    found = read_curves(run)

    assert (found.recipe, found.seed, found.data, found.base) == ("tiny", 7, "icons", "a/b")


@pytest.mark.parametrize("data", ["3f0a", None])
def test_a_baselines_record_names_no_data(tmp_path: Path, data: str | None) -> None:
    run = write(tmp_path, {"step": 0, "loss": 1.0})
    (run / "run.json").write_text(json.dumps({"recipe": {"name": "sft"}, "data": data}))

    assert read_curves(run).data is None


def test_a_folder_without_metrics_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoCurvesError, match=r"no metrics\.jsonl") as caught:
        read_curves(tmp_path / "none")
    assert caught.value.run == tmp_path / "none"
    with pytest.raises(NoCurvesError, match="no finished step"):
        read_curves(write(tmp_path, end='{"step"'))


def test_smoothing_keeps_a_straight_line_and_both_ends() -> None:
    line = Curve(tuple(range(100)), tuple(2.0 * step for step in range(100)))
    assert smoothed(line).values == pytest.approx(line.values)
    jump = Curve(tuple(range(100)), tuple(float(step >= 50) for step in range(100)))
    assert smoothed(jump).values[0] == 0.0
    assert smoothed(jump).values[-1] == 1.0
    assert 0.0 < smoothed(jump).values[49] < 0.5


def test_a_short_curve_is_left_as_it_is() -> None:
    short = Curve((0, 1, 2), (5.0, 0.0, 5.0))
    assert smoothed(short) == short


def test_seeds_are_joined_at_the_steps_that_all_have() -> None:
    band = band_of([Curve((0, 1, 2), (1.0, 2.0, 3.0)), Curve((1, 2, 3), (4.0, 3.0, 9.0))])

    assert band.steps == (1, 2)
    assert band.means == (3.0, 3.0)
    assert band.spreads == (1.0, 0.0)


def test_runs_of_different_recipes_have_no_mean() -> None:
    def of(recipe: str) -> RunCurves:
        return RunCurves(Path(recipe), recipe, None, None, None, {})

    require_one_recipe([of("a"), of("a")])
    with pytest.raises(DifferentRecipesError, match="a, b"):
        require_one_recipe([of("b"), of("a")])
