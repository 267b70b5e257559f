import json
import math
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from server.telemetry.drift import BINS, EDGES, DriftWatch, ScoreDrift, psi


def test_the_same_shares_have_no_distance_whatever_their_number() -> None:
    assert psi([10] * BINS, [70] * BINS) == pytest.approx(0.0)


def test_the_index_is_the_sum_over_bins() -> None:
    then, now = [50, 50] + [0.5] * 8, [80, 20] + [0.5] * 8
    total = 104.0
    expected = (30 / total) * math.log(80 / 50) + (-30 / total) * math.log(20 / 50)
    assert psi(then, now) == pytest.approx(expected)  # type: ignore[arg-type]


def test_an_empty_bin_is_far_and_not_infinitely_so() -> None:
    assert 1.0 < psi([100] + [0] * 9, [0] * 9 + [100]) < 20.0


def test_nothing_is_known_until_both_windows_are_full() -> None:
    drift = ScoreDrift(window=10)
    for _ in range(19):
        drift.add(0.2)
        assert math.isnan(drift.index)
    drift.add(0.2)
    assert drift.index == pytest.approx(0.0)


def test_a_shift_shows_and_passes_again_with_the_window() -> None:
    drift = ScoreDrift(window=100)
    scores = [number / 100 for number in range(100)]
    for score in scores * 2:
        drift.add(score)
    assert drift.index == pytest.approx(0.0)
    for score in scores:
        drift.add(score**4)
    assert drift.index > 0.25
    for score in scores:
        drift.add(score)
    assert drift.index == pytest.approx(0.0)


@pytest.mark.parametrize("score", [0.0, EDGES[0], EDGES[-1], 1.0])
def test_every_score_has_a_bin(score: float) -> None:
    drift = ScoreDrift(window=1)
    drift.add(score)
    assert sum(drift.reference) == 1


def fill(watch: DriftWatch, score: float, times: int = 5) -> None:
    for _ in range(times):
        watch.add("image", score)


def test_a_reference_that_is_kept_outlives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "drift.json"
    for score in (0.02, 0.98):
        watch = DriftWatch(["image", "text"], path=path, window=5)
        watch.watch("model@1")
        fill(watch, score)
    fill(watch, 0.98)
    assert watch.index("image") > 1.0
    assert math.isnan(watch.index("text"))


def test_another_models_reference_is_none(tmp_path: Path) -> None:
    path = tmp_path / "drift.json"
    watch = DriftWatch(["image"], path=path, window=5)
    watch.watch("model@1")
    fill(watch, 0.02)
    watch.watch("model@2")
    fill(watch, 0.98, times=10)
    assert watch.index("image") == pytest.approx(0.0)
    assert json.loads(path.read_text())["model_version"] == "model@2"


def test_an_engine_that_starts_again_begins_no_new_window() -> None:
    watch = DriftWatch(["image"], window=5)
    watch.watch("model@1")
    fill(watch, 0.02, times=10)
    watch.watch("model@1")
    assert watch.index("image") == pytest.approx(0.0)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model_version": "m", "edges": 3}'])
def test_a_spoilt_reference_is_done_without(tmp_path: Path, content: str) -> None:
    path = tmp_path / "drift.json"
    path.write_text(content)
    with capture_logs() as logs:
        watch = DriftWatch(["image"], path=path, window=5)
        watch.watch("m")
        fill(watch, 0.5)
    assert all(line["log_level"] == "warning" for line in logs)
    assert sum(json.loads(path.read_text())["counts"]["image"]) == 5


def test_a_reference_that_cannot_be_kept_is_said_and_done_without(tmp_path: Path) -> None:
    watch = DriftWatch(["image"], path=tmp_path / "missing" / "drift.json", window=5)
    watch.watch("m")
    with capture_logs() as logs:
        fill(watch, 0.5)
    assert [line["event"] for line in logs] == ["drift reference can't be kept"]
