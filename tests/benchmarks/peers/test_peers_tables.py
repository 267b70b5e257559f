"""The table: every contender a row, goals with their verdicts, and what did not run."""

import io
from pathlib import Path

from rich.console import Console

from benchmarks.peers.figures import HostFigures, Measured
from benchmarks.peers.line_up import LineUp, Places, line_up
from benchmarks.peers.plot import draw
from benchmarks.peers.race import Outcome, race_figures
from benchmarks.peers.tables import peers_markdown, peers_rows, peers_tables
from benchmarks.tables import show


def everyone(folder: Path) -> LineUp:
    return line_up(Places(folder, folder, folder, folder))


def record(tmp_path: Path) -> dict[str, object]:
    outcome = Outcome(
        rounds=[
            {
                "ours": Measured(20.0, 50.0, 60.0, 80.0, 1.0, 600.0, 700.0),
                "stock": Measured(10.0, 70.0, 90.0, 90.0, 1.0, 900.0, 990.0),
            }
        ],
        hosts={"ours": HostFigures(12.3, 2048.0), "stock": HostFigures(20.0, 3000.0)},
        missing={"nudenet": "not installed: install it"},
    )
    return {
        "benchmark": "peers",
        "model_version": "model@0",
        "data": {"name": "set", "split": "test", "examples": 3},
        "figures": race_figures(outcome, everyone(tmp_path), cores=2),
    }


def test_every_contender_has_a_row(tmp_path: Path) -> None:
    rows = peers_rows(record(tmp_path))

    assert set(rows) == {one.name for one in everyone(tmp_path).contenders}
    assert rows["ours"] == [
        "20 (20-20)",
        "",
        "50 / 60",
        "600 / 700",
        "80",
        "2,048",
        "12.3",
        "",
    ]
    assert rows["stock"][1] == "x 2"


def test_who_did_not_run_says_why(tmp_path: Path) -> None:
    rows = peers_rows(record(tmp_path))

    assert rows["nudenet"][-1] == "not installed: install it"
    assert rows["open-nsfw"][-1] == "did not run"


def test_tables_fit_a_terminal(tmp_path: Path) -> None:
    console = Console(width=80, file=io.StringIO())
    show(peers_tables(record(tmp_path)), console)
    assert "…" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_plot_shows_who_ran_and_judges(tmp_path: Path) -> None:
    (axes,) = draw(record(tmp_path)).axes
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == ["vLLM's OpenAI server, one token", "ours over HTTP"]


def test_goals_stand_with_their_verdicts(tmp_path: Path) -> None:
    found = record(tmp_path)
    *_, goals = peers_tables(found)

    verdicts = dict(zip(goals.columns[0].cells, goals.columns[3].cells, strict=True))
    assert "held" in str(verdicts["ours beside vLLM's own server, one token"])
    assert "missed" in str(verdicts["ours beside a JSON verdict"])
    assert "| ours beside a JSON verdict | at least 1 | unknown | missed |" in peers_markdown(found)


def test_each_contender_asks_a_host_that_there_is(tmp_path: Path) -> None:
    found = everyone(tmp_path)

    assert {one.host for one in found.contenders} == set(found.hosts)
    names = [one.name for one in found.contenders]
    assert len(set(names)) == len(names)


def test_a_choice_keeps_what_the_client_costs(tmp_path: Path) -> None:
    chosen = everyone(tmp_path).only(("ours",))

    assert [one.name for one in chosen.contenders] == ["ours", "nothing"]
    assert set(chosen.hosts) == {"ours", "nothing"}
