"""The client's own cost, measured on an endpoint that does nothing; and where bodies are kept."""

from alignment.data.open_set import read_open_set
from benchmarks.load.bodies import Bodies, BodyShape, Turn, make_bodies
from benchmarks.load.client_cost import measure_client


async def test_the_client_alone_is_measured_in_both_loops() -> None:
    bodies = [b'{"input": "x"}'] * 30
    closed = await measure_client(bodies, clients=2)
    opened = await measure_client(bodies, clients=1, arrivals_s=[n * 0.01 for n in range(30)])

    assert closed.requests == opened.requests == 30
    assert 0 < closed.p50_ms <= closed.p99_ms
    assert opened.cpu_ms_a_request > 0
    assert "endpoint that does nothing" in str(closed)


async def test_an_open_loop_is_not_followed_for_minutes() -> None:
    found = await measure_client([b"x"] * 3, clients=1, arrivals_s=[0.0, 0.01, 600.0])

    assert found.requests == 2


def test_bodies_come_back_in_any_order() -> None:
    with Bodies([b"one", b"", b"three"]) as bodies:
        assert [bodies[2], bodies[0], bodies[1]] == [b"three", b"one", b""]
        assert len(bodies) == 3


def test_pixels_differ_in_every_turn_and_are_the_same_for_a_seed() -> None:
    image_set = read_open_set()
    turns = [Turn(image_set.examples[0], number) for number in range(3)]

    def made(seed: int) -> list[bytes]:
        with make_bodies(image_set, turns, BodyShape(), fresh=True, seed=seed) as bodies:
            return list(bodies)

    assert len(set(made(1))) == 3
    assert made(1) == made(1)
    assert not set(made(1)) & set(made(2))
