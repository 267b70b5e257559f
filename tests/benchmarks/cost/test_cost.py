"""What is varied, what is sent, and what a point's figures are made of."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from benchmarks.cost.loads import Loads
from benchmarks.cost.measuring import STAGES, Cost, StageTotals, busy_share, mean_stage_ms
from benchmarks.cost.plot import draw
from benchmarks.cost.points import SWEEPS, Point, Sweep, points_of
from benchmarks.cost.run import Found, cost_figures
from benchmarks.cost.tables import cost_markdown, cost_rows, cost_tables
from benchmarks.tables import show


@pytest.fixture
def loads(tmp_path: Path) -> Loads:
    path = tmp_path / "picture.png"
    Image.new("RGB", (16, 12), (10, 120, 200)).save(path)
    return Loads([path], seed=1)


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sweep_varies_one_thing(sweep: Sweep) -> None:
    points = points_of(sweep, machine_cores=4)

    assert len({one.value for one in points}) == len(points) >= 3
    for field in ("side_px", "images_per_call", "clients", "cores", "text_chars"):
        assert len({getattr(one, field) for one in points}) == (
            len(points) if field == sweep else 1
        )


@pytest.mark.parametrize(("cores", "wanted"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6])])
def test_cores_double_up_to_the_machines(cores: int, wanted: list[int]) -> None:
    assert [one.value for one in points_of("cores", machine_cores=cores)] == wanted


def test_every_client_has_something_to_send_and_large_pictures_are_few() -> None:
    for sweep in SWEEPS:
        assert all(one.calls >= one.clients for one in points_of(sweep, machine_cores=2))
    small, large = Point("side_px", side_px=96), Point("side_px", side_px=2560)
    assert large.calls < small.calls


def test_calls_carry_what_the_point_says_and_nothing_twice(loads: Loads) -> None:
    point = Point("images_per_call", images_per_call=4, clients=2)
    bodies = [json.loads(body) for _ in range(2) for body in loads.bodies(point)]
    urls = [part["image_url"]["url"] for body in bodies for part in body["input"]]

    assert len(bodies) == 2 * point.calls
    assert {len(body["input"]) for body in bodies} == {4}
    assert len(set(urls)) == len(urls)


def test_texts_have_their_length_and_are_never_the_same(loads: Loads) -> None:
    point = Point("text_chars", text_chars=200)
    texts = [json.loads(body)["input"] for _ in range(2) for body in loads.bodies(point)]

    assert {len(text) for text in texts} == {200}
    assert len(set(texts)) == len(texts)


def test_a_stage_that_did_not_happen_has_no_duration() -> None:
    before = {stage: StageTotals(1.0, 10.0) for stage in STAGES}
    after = before | {"engine": StageTotals(1.5, 20.0)}

    assert mean_stage_ms(before, after) == {
        "queue": None,
        "decode": None,
        "engine": pytest.approx(50.0),
        "total": None,
    }


def a_cost(busy: float = 0.95, *, speed: float = 20.0, server_ms: float = 10.0) -> Cost:
    stage_ms: dict[str, float | None] = {"queue": 0.1, "decode": 1.0, "engine": None, "total": 9.0}
    cpu_ms = {"server": server_ms, "engine": 40.0, "client": 1.0}
    return Cost(speed, 50.0, 60.0, stage_ms, cpu_ms, busy)


@pytest.mark.parametrize(
    ("cost", "bound_by"),
    [
        (a_cost(), "engine"),
        (a_cost(server_ms=90.0), "server"),
        (a_cost(busy=0.5), "waiting"),
    ],
)
def test_what_bounds_a_point_is_who_uses_most_of_a_busy_machine(cost: Cost, bound_by: str) -> None:
    assert cost.bound_by == bound_by


@pytest.mark.parametrize(
    ("cpu_s", "cores", "share"),
    [
        (4.0, 4, 0.5),
        (2.0, 1, 1.0),  # one core of the service, all of it used
        (2.1, 1, 1.0),  # and the client on another one
    ],
)
def test_a_service_is_busy_by_its_own_cores(cpu_s: float, cores: int, share: float) -> None:
    assert busy_share(cpu_s, 2.0, cores) == pytest.approx(share)


def record() -> dict[str, object]:
    speeds = {0: (20.0, 22.0, 30.0), 1: (5.0, 5.0, 6.0)}
    found = [
        Found(Point("side_px", side_px=96 * 2**place), [a_cost(speed=one) for one in of])
        for place, of in speeds.items()
    ]
    return {
        "benchmark": "cost",
        "model_version": "model@0",
        "data": {"name": "set", "split": "test", "examples": 3},
        "figures": {"points": cost_figures(found)},
    }


def test_the_table_shows_every_point_with_its_spread() -> None:
    rows = cost_rows(record(), "side_px")

    assert [row[:2] for row in rows] == [["96", "22 (20-30)"], ["192", "5 (5-6)"]]
    assert rows[0][3:5] == ["1 / - / 9", "10 / 40 / 1"]
    (table,) = cost_tables(record())
    assert table.row_count == 2
    assert "| 192 | 5 (5-6) |" in cost_markdown(record())


def test_tables_fit_a_terminal() -> None:
    console = Console(width=80, file=io.StringIO())
    show(cost_tables(record()), console)
    assert "…" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_plot_has_two_panels_a_sweep() -> None:
    figure = draw(record())

    assert len(figure.axes) == 2
    assert figure.axes[1].get_xlabel() == "longer side of a picture, px"
