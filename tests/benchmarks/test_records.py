import json
from pathlib import Path

import pytest

from benchmarks.records import DataOrigin, build_record, hardware, write_record
from server.concepts.probes import load_probes
from server.concepts.taxonomy import load_taxonomy


def record(figures: dict[str, float]) -> dict[str, object]:
    return build_record(
        "served",
        config={"clients": 4},
        data=DataOrigin(name="set", sha256="ab" * 32, split="test", examples=3),
        model_version="model@0",
        figures=figures,
        measurements=[],
    )


def test_a_record_says_what_was_measured_on_what(tmp_path: Path) -> None:
    path = write_record(record({"auc": 0.5}), tmp_path)
    found = json.loads(path.read_text())

    assert found["benchmark"] == "served"
    assert found["data"] == {"name": "set", "sha256": "ab" * 32, "split": "test", "examples": 3}
    assert found["config"] == {"clients": 4}
    assert found["model_version"] == "model@0"
    assert found["taxonomy_version"] == load_taxonomy().version
    assert found["probes_version"] == load_probes().version
    assert len(found["commit"].removesuffix("+changes")) == 40
    assert set(found["packages"]) >= {"python", "sightward", "torch"}
    assert found["hardware"]["usable_cores"] >= 1
    assert found["hardware"]["memory_gib"] > 0


def test_an_earlier_record_is_never_overwritten(tmp_path: Path) -> None:
    same = record({"auc": 0.5})
    paths = {write_record(same, tmp_path) for _ in range(3)}

    assert len(paths) == 3
    assert all(json.loads(path.read_text()) == same for path in paths)


def test_a_figure_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_record(record({"auc": float("nan")}), tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_the_hardware_names_no_folder() -> None:
    assert "/home" not in json.dumps(hardware())
