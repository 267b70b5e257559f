"""The race with fake hosts: who is asked when, with what, and what becomes of who is missing."""

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from PIL import Image

from benchmarks.fresh_images import FreshImages
from benchmarks.peers import race as race_module
from benchmarks.peers.contender import Contender, NotInstalledError, Ran, Turn
from benchmarks.peers.line_up import LineUp
from benchmarks.peers.race import PeersConfig, Race, race_figures


class FakeHost:
    """Notes what happens to it in `events`."""

    def __init__(self, key: str, pid: int, events: list[str], *, installed: bool = True) -> None:
        self.key, self.pid_, self.events, self.installed = key, pid, events, installed

    def __enter__(self) -> Self:
        if not self.installed:
            raise NotInstalledError(self.key, "install it")
        self.events.append(f"start {self.key}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.events.append(f"end {self.key}")

    def wait_until_ready(self) -> None:
        return

    @property
    def pid(self) -> int:
        return self.pid_


@pytest.fixture
def pictures(tmp_path: Path) -> FreshImages:
    path = tmp_path / "picture.png"
    Image.new("RGB", (8, 8), (10, 120, 200)).save(path)
    return FreshImages([path], seed=1)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happened; stopping and going on are noted and done to nobody."""
    found: list[str] = []
    monkeypatch.setattr(race_module, "keep_still", lambda pid: found.append(f"still {pid}"))
    monkeypatch.setattr(race_module, "go_on", lambda pid: found.append(f"on {pid}"))
    return found


@pytest.fixture
def seen() -> list[tuple[str, bytes, int]]:
    """Every picture that was judged, by whom, and how many at once."""
    return []


@pytest.fixture
def make_line_up(events: list[str], seen: list[tuple[str, bytes, int]]) -> Callable[..., LineUp]:
    def judge(name: str) -> Callable[[Turn], Ran]:
        def judged(turn: Turn) -> Ran:
            assert [path.read_bytes() for path in sorted(turn.folder.iterdir())] == turn.files
            events.append(f"ask {name}")
            seen.extend((name, data, turn.at_once) for data in turn.files)
            return Ran(len(turn.files) / 10, (100.0,) * len(turn.files), 0.001)

        return judged

    def make(*, missing: tuple[str, ...] = ()) -> LineUp:
        names = ("a", "b", "c")
        own = os.getpid()
        hosts = {
            name: (lambda name=name: FakeHost(name, own, events, installed=name not in missing))
            for name in names
        }
        return LineUp(hosts, tuple(Contender(n, n, n, judge(n), is_serial=n == "c") for n in names))

    return make


def config(**changes: object) -> PeersConfig:
    return PeersConfig(**({"clients": 2, "rounds": 2, "images": 4, "singles": 2} | changes))  # type: ignore[arg-type]


def asked_in_turn(events: list[str]) -> list[str]:
    """The contenders in the order of their turns."""
    names = [one.removeprefix("ask ") for one in events if one.startswith("ask ")]
    return [name for place, name in enumerate(names) if place == 0 or names[place - 1] != name]


def run(line_up: LineUp, pictures: FreshImages, **changes: object) -> race_module.Outcome:
    return Race(config(**changes), line_up, pictures, on_step=lambda _: None).run()


def test_contenders_take_turns_and_the_order_turns_around(
    make_line_up: Callable[..., LineUp], pictures: FreshImages, events: list[str]
) -> None:
    run(make_line_up(), pictures)

    # a b c, then c b a, then a b c: two turns of one contender in a row look like one.
    assert asked_in_turn(events) == ["a", "b", "c", "b", "a", "b", "c"]


def test_no_picture_is_sent_twice(
    make_line_up: Callable[..., LineUp],
    pictures: FreshImages,
    seen: list[tuple[str, bytes, int]],
) -> None:
    run(make_line_up(), pictures)

    assert len({data for _, data, _ in seen}) == len(seen) > 0


def test_only_the_one_that_is_asked_is_at_work(
    make_line_up: Callable[..., LineUp], pictures: FreshImages, events: list[str]
) -> None:
    run(make_line_up(), pictures)

    at_work = 0
    for event in events[: events.index("end c")]:
        kind = event.split(" ")[0]
        # A host works from its start until it is told to be still.
        at_work += {"start": 1, "on": 1, "still": -1}.get(kind, 0)
        assert at_work in ((1,) if kind == "ask" else (0, 1))


def test_with_restart_one_host_is_there_at_a_time(
    make_line_up: Callable[..., LineUp], pictures: FreshImages, events: list[str]
) -> None:
    run(make_line_up(), pictures, restart=True, rounds=1)

    kept = [one for one in events if one.split(" ")[0] in ("start", "end")]
    assert kept == [f"{what} {name}" for name in "abccba" for what in ("start", "end")]


def test_the_first_round_is_thrown_away(
    make_line_up: Callable[..., LineUp], pictures: FreshImages
) -> None:
    outcome = run(make_line_up(), pictures, rounds=3)

    assert len(outcome.rounds) == 3


def test_a_serial_contender_never_gets_two_at_once(
    make_line_up: Callable[..., LineUp],
    pictures: FreshImages,
    seen: list[tuple[str, bytes, int]],
) -> None:
    run(make_line_up(), pictures)

    assert {at_once for name, _, at_once in seen if name == "c"} == {1}
    assert {at_once for name, _, at_once in seen if name == "a"} == {1, 2}


def test_who_is_not_installed_is_a_row_that_says_so(
    make_line_up: Callable[..., LineUp], pictures: FreshImages
) -> None:
    line_up = make_line_up(missing=("b",))
    outcome = run(line_up, pictures)

    figures = race_figures(outcome, line_up, cores=2)["contenders"]
    assert figures["b"]["missing"] == "not installed: install it"
    assert "images_per_s" not in figures["b"]
    assert figures["a"]["missing"] is None
    assert figures["a"]["images_per_s"]["median"] == pytest.approx(10.0)


def test_hosts_end_when_a_contender_fails(
    make_line_up: Callable[..., LineUp], pictures: FreshImages, events: list[str]
) -> None:
    line_up = make_line_up()

    def fails(turn: Turn) -> Ran:
        raise ValueError(turn.at_once)

    broken = Contender("a", "a", "a", fails)
    with pytest.raises(ValueError, match="1"):
        run(LineUp(line_up.hosts, (broken,)), pictures)

    assert sorted(one for one in events if one.startswith("end")) == ["end a", "end b", "end c"]


@pytest.mark.parametrize("asks", [1, 40])
def test_a_race_that_is_cut_short_keeps_its_whole_rounds(
    make_line_up: Callable[..., LineUp], pictures: FreshImages, asks: int
) -> None:
    line_up, asked = make_line_up(), iter(range(asks))

    def until_cut(turn: Turn) -> Ran:
        if next(asked, None) is None:
            raise KeyboardInterrupt
        return Ran(1.0, (1.0,) * len(turn.files))

    cut = LineUp(line_up.hosts, (Contender("a", "a", "a", until_cut),))
    if asks == 1:
        with pytest.raises(KeyboardInterrupt):
            run(cut, pictures, rounds=100)
    else:
        # Three times a turn: waking, singly, all clients; and the first round does not count.
        assert len(run(cut, pictures, rounds=100).rounds) == 40 // 3 - 1
