from pathlib import Path

import pytest

from server.concepts.calibration import Calibration
from server.engine.model_calibration import calibration_of
from server.engine.model_source import ModelSource, folder_digest
from server.errors import EngineStartError

CALIBRATION = Calibration(
    revision="1", probes_version="1-a", active=("general_audience",), taxonomy_version="1-b"
)


@pytest.fixture
def source(tmp_path: Path) -> ModelSource:
    folder = tmp_path / "vlm"
    folder.mkdir()
    return ModelSource(name=str(folder), folder=folder)


def put_in(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "calibration.json").write_text(text, encoding="utf-8")


def test_a_model_without_the_file_has_no_calibration(source: ModelSource) -> None:
    assert calibration_of(source, None) is None
    assert calibration_of(ModelSource(name="some/hub-model", folder=None), None) is None


def test_the_file_beside_the_model_is_its_calibration(source: ModelSource) -> None:
    assert source.folder is not None
    before = folder_digest(source.folder)
    put_in(source.folder, CALIBRATION.model_dump_json())

    assert calibration_of(source, None) == CALIBRATION
    assert folder_digest(source.folder) != before  # so the model's version names it


def test_an_adapter_brings_its_own_and_voids_the_models(
    source: ModelSource, tmp_path: Path
) -> None:
    assert source.folder is not None
    put_in(source.folder, CALIBRATION.model_dump_json())
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    assert calibration_of(source, adapter) is None
    own = CALIBRATION.model_copy(update={"revision": "2"})
    put_in(adapter, own.model_dump_json())
    assert calibration_of(source, adapter) == own


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema_version": 1, "schema_version": 1}'])
def test_an_unusable_file_keeps_the_engine_from_starting(source: ModelSource, text: str) -> None:
    assert source.folder is not None
    put_in(source.folder, text)
    with pytest.raises(EngineStartError, match=r"calibration\.json"):
        calibration_of(source, None)
