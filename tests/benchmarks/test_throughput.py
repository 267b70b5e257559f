import dataclasses

import pytest

from benchmarks.tables import throughput_tables
from benchmarks.throughput import Round, summarise


def measured(raw: float, endpoint: float, raw_ms: float, endpoint_ms: float) -> Round:
    return Round(
        raw_at_once_images_per_s=0.6 * raw,
        raw_by_clients_images_per_s=raw,
        endpoint_images_per_s=endpoint,
        endpoint_loaded_p50_ms=600.0,
        endpoint_loaded_p95_ms=900.0,
        raw_single_p50_ms=raw_ms,
        endpoint_single_p50_ms=endpoint_ms,
    )


ROUNDS = [
    measured(20.0, 18.0, 50.0, 60.0),
    measured(10.0, 9.5, 100.0, 105.0),
    measured(20.0, 17.0, 50.0, 57.0),
]


def test_ratios_and_differences_are_taken_within_a_round() -> None:
    figures = summarise(ROUNDS)

    # 0.90, 0.95, 0.85: the slow second round does not distort the ratio.
    assert figures.throughput_ratio.median == pytest.approx(0.90)
    assert figures.throughput_ratio.low == pytest.approx(0.85)
    assert figures.throughput_ratio.high == pytest.approx(0.95)
    assert figures.added_p50_ms.median == pytest.approx(7.0)
    assert figures.raw_images_per_s.median == 20.0


@pytest.mark.parametrize(("at_once", "by_clients"), [(30.0, 20.0), (20.0, 30.0)])
def test_the_endpoint_is_held_against_the_faster_raw(at_once: float, by_clients: float) -> None:
    one = dataclasses.replace(
        ROUNDS[0], raw_at_once_images_per_s=at_once, raw_by_clients_images_per_s=by_clients
    )

    assert one.raw_images_per_s == 30.0
    assert one.throughput_ratio == pytest.approx(18.0 / 30.0)


def test_the_table_shows_every_figure() -> None:
    record = {
        "benchmark": "throughput",
        "model_version": "model@0",
        "data": {"name": "set", "split": "test", "examples": 3},
        "config": {"clients": 16},
        "figures": dataclasses.asdict(summarise(ROUNDS)),
    }
    (table,) = throughput_tables(record)

    raw, ratio = list(table.columns[1].cells), list(table.columns[3].cells)

    assert raw[:2] == ["12.00 (6.00 - 12.00)", "20.00 (10.00 - 20.00)"]
    assert raw[2:4] == ["20.00 (10.00 - 20.00)", "50.00 (50.00 - 100.00)"]
    assert ratio[2:4] == ["x 0.90 (0.85 - 0.95)", "+ 7.00 (5.00 - 10.00)"]
