"""Pictures of curves: which panels they have, and what becomes of files and errors."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alignment.commands.plot import plot
from alignment.curves import NoCurvesError, read_curves
from alignment.plot import _COLUMNS, PANELS, _found, plot_runs


def ppo_line(step: int, seed: int) -> dict[str, Any]:
    wave = math.sin(step + seed)
    return {
        "step": step,
        "reward": -0.5 + step / 40 + wave / 5,
        "reward_std": 0.4,
        "reward_right": step / 40,
        "reward_form": -0.1,
        "right_rate": 0.5 + step / 80,
        "no_answer_rate": None,
        "kl": step / 10,
        "kl_coef": 0.05,
        "entropy": 2 - step / 40,
        "policy_grad_norm": 1 + abs(wave),
        "seconds": {"rollout": 2.0 + wave / 3, "reward": 0.1, "learn": 3.0},
        "memory_gib": 1.5,
        "tokens_per_s": 100.0 + wave,
        "samples": [{"answer": "yes"}],
    }


def sft_line(step: int, seed: int) -> dict[str, Any]:
    return {"step": step, "loss": 2 / (step + 1), "grad_norm": 1.0, "lr": 1e-4, "seconds": 0.5}


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    def make(line: Callable[[int, int], dict[str, Any]], seed: int = 1, steps: int = 40) -> Path:
        run = tmp_path / f"seed-{seed}"
        run.mkdir()
        lines = [json.dumps(line(step, seed)) + "\n" for step in range(steps)]
        (run / "metrics.jsonl").write_text("".join(lines))
        record = {"recipe": {"name": line.__name__, "seed": seed}, "base": "tiny"}
        (run / "run.json").write_text(json.dumps(record))
        return run

    return make


def titles(run: Path) -> list[str]:
    curves = read_curves(run)
    return [panel.title for panel in PANELS if list(_found([curves], panel.lines))]


def test_a_run_is_drawn_into_its_own_folder(
    make_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(ppo_line)
    plot(run)

    with Image.open(run / "curves.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > picture.height > 500
    assert "curves.png" in capsys.readouterr().out


def test_seeds_are_drawn_together_beside_their_folders(make_run: Callable[..., Path]) -> None:
    first = make_run(ppo_line, seed=1)
    plot(first, make_run(ppo_line, seed=2, steps=30))

    assert (first.parent / "curves.png").is_file()
    assert not (first / "curves.png").exists()


def test_a_baseline_has_its_own_panels(make_run: Callable[..., Path], tmp_path: Path) -> None:
    run = make_run(sft_line)
    assert titles(run) == ["Loss", "Gradient norms", "Learning rate", "Time"]
    out = plot_runs([read_curves(run)], tmp_path / "new" / "sft.png")

    with Image.open(out) as picture:
        assert picture.width > _COLUMNS * 400


def test_the_terms_of_a_reward_are_drawn_by_name(make_run: Callable[..., Path]) -> None:
    (panel,) = (panel for panel in PANELS if panel.title == "Reward")
    found = list(_found([read_curves(make_run(ppo_line))], panel.lines))

    assert found == [("reward", "reward"), ("reward_right", "right"), ("reward_form", "form")]


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoCurvesError):
        plot(tmp_path)
