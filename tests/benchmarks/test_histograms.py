import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.errors import MeasurementError
from benchmarks.histograms import read_columns, write_histograms


def record(**changes: Any) -> dict[str, Any]:
    estimate = {"value": 0.9, "low": 0.8, "high": 1.0}
    figures = {"auc": estimate, "balanced_accuracy": estimate, "ece": {"value": None}}
    said = [("Unsafe", "gun", 0.9), ("Unsafe", "gun", 0.7), ("Safe", "cup", 0.2)]
    return {
        "benchmark": "served",
        "data": {"name": "drawn", "sha256": "0" * 64, "split": "test", "examples": 3},
        "model_version": "stub@1",
        "figures": {"images": figures, "texts": figures},
        "measurements": [
            {
                "id": str(number),
                "label": label,
                "text": text,
                "image": {"p_unsafe": p},
                "by_text": {"p_unsafe": 1.0 if label == "Unsafe" else None},
            }
            for number, (label, text, p) in enumerate(said)
        ],
    } | changes


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_pictures_count_one_by_one_and_words_once(tmp_path: Path) -> None:
    (column,) = read_columns([write(tmp_path / "a.json", record())])
    assert column.images.unsafe.tolist() == [0.9, 0.7]
    assert column.images.safe.tolist() == [0.2]
    assert column.texts.unsafe.tolist() == [1.0]
    assert (column.texts.safe.size, column.texts.no_answer) == (0, 1)
    assert column.images.remark == "AUC 0.900, balanced accuracy 0.900, ECE unknown"


def test_two_records_are_drawn_side_by_side(tmp_path: Path) -> None:
    before = write(tmp_path / "a.json", record())
    out = tmp_path / "plots" / "p.png"
    write_histograms([before], out)
    alone = Image.open(io.BytesIO(out.read_bytes()))
    write_histograms([before, before], out, names=["before", "after"])
    both = Image.open(io.BytesIO(out.read_bytes()))
    assert both.format == "PNG"
    assert both.width > 1.5 * alone.width
    assert both.height == alone.height
    assert len(both.convert("RGB").getcolors(maxcolors=1 << 20) or ()) > 10


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"benchmark": "robustness"}, "not of 'served'"),
        ({"measurements": [{"id": "1", "text": "gun"}]}, "older record"),
        ({"figures": {}}, "older record"),
    ],
)
def test_other_records_are_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(MeasurementError, match=reason):
        read_columns([write(tmp_path / "a.json", record(**change))])


def test_records_of_different_data_are_not_drawn_together(tmp_path: Path) -> None:
    one = write(tmp_path / "a.json", record())
    other = record()
    other["data"]["sha256"] = "1" * 64
    with pytest.raises(MeasurementError, match="different data"):
        read_columns([one, write(tmp_path / "b.json", other)])


def test_a_file_that_is_not_there_and_too_few_names_are_said(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="can't be read"):
        read_columns([tmp_path / "none.json"])
    with pytest.raises(MeasurementError, match="1 names for 2 records"):
        write_histograms([tmp_path / "a.json"] * 2, tmp_path / "p.png", names=["one"])
