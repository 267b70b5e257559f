import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks.capabilities.schema import CapabilitiesRecord
from benchmarks.errors import MeasurementError
from benchmarks.report import write_report

Write = Callable[[Sequence[CapabilitiesRecord]], list[Path]]


@pytest.fixture(scope="module")
def small(make_record: Callable[..., CapabilitiesRecord]) -> CapabilitiesRecord:
    return make_record(modes=("token",), pictures=1, safe=3, judgements=("harm_free",))


@pytest.fixture(scope="module")
def empty(small: CapabilitiesRecord) -> CapabilitiesRecord:
    """A record of a run that asked nothing and knows nothing of its machine."""
    figures = type(small.figures)(
        suites=(), gaps=(), diversity=(), agreement=(), confusions=(), general=()
    )
    run = small.run.model_copy(update={"speed": {}, "commit": None, "hardware": {}, "packages": {}})
    changes = {"answers": (), "figures": figures, "run": run, "versions": {}}
    return small.model_copy(update=changes)


def test_the_same_records_give_the_same_files(
    small: CapabilitiesRecord, write: Write, tmp_path: Path
) -> None:
    paths = write([small])
    first = write_report(paths, tmp_path / "first")
    second = write_report(paths, tmp_path / "second")

    assert first.page.name == "report.html"
    assert first.markdown.name == "report.md"
    assert len(first.plots) >= 8
    written = sorted((tmp_path / "first").iterdir())
    assert written == sorted((first.page, first.markdown, *first.plots))
    for path in written:
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name
    assert len(second.plots) == len(first.plots)


def test_a_runs_folder_stands_for_its_record(empty: CapabilitiesRecord, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "record.json").write_text(empty.model_dump_json(), encoding="utf-8")

    assert write_report([run], tmp_path / "out").page.is_file()


def test_a_record_without_figures_still_makes_a_page(
    empty: CapabilitiesRecord, write: Write, tmp_path: Path
) -> None:
    files = write_report(write([empty]), tmp_path / "out")

    assert not files.plots
    assert "What was measured" in files.page.read_text(encoding="utf-8")


def test_other_data_is_refused_before_anything_is_written(
    small: CapabilitiesRecord, write: Write, tmp_path: Path, image_folder: Path
) -> None:
    with pytest.raises(MeasurementError, match="not the data that was measured"):
        write_report(write([small]), tmp_path / "out", data=image_folder)

    assert not (tmp_path / "out").exists()


def test_a_place_that_can_not_be_written_to_is_named(
    empty: CapabilitiesRecord, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file")

    with pytest.raises(MeasurementError, match="out can't be written to"):
        write_report(write([empty]), tmp_path / "out")


def test_a_missing_record_costs_no_import_of_matplotlib(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from benchmarks.report import write_report\n"
        "try: write_report([Path('missing.json')], Path('out'))\n"
        "except Exception as error: print(type(error).__name__, 'matplotlib' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )

    assert run.stdout.split() == ["MeasurementError", "False"]
