from pathlib import Path
from types import SimpleNamespace

import pytest

from server.engine import model_source
from server.engine.model_source import find_model, folder_digest, version_of
from server.errors import EngineStartError


def checkpoint(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_a_folder_is_local_and_labelled_by_its_name(tmp_path: Path) -> None:
    source = find_model(checkpoint(tmp_path / "mine"))
    assert source.folder == tmp_path / "mine"
    assert source.label == "mine"
    assert source.weight_bytes() == len(b"weights")


def test_a_hub_id_is_taken_as_it_is() -> None:
    source = find_model("org/model")
    assert (source.folder, source.argument, source.label) == (None, "org/model", "org/model")
    assert source.weight_bytes() is None


@pytest.mark.parametrize("model", ["/no/such/folder", "./no-such-folder", "~/none", "a/b/c"])
def test_a_path_that_is_not_there_is_refused(model: str) -> None:
    with pytest.raises(EngineStartError, match="no model folder"):
        find_model(model)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineStartError, match=r"no config\.json"):
        find_model(tmp_path)


def test_one_changed_byte_of_weights_is_another_version(tmp_path: Path) -> None:
    first = folder_digest(checkpoint(tmp_path / "a"))
    assert first == folder_digest(checkpoint(tmp_path / "b"))
    assert first != folder_digest(checkpoint(tmp_path / "c", b"weighty"))


def test_a_renamed_file_is_another_version(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "a")
    before = folder_digest(folder)
    (folder / "config.json").rename(folder / "other.json")
    assert folder_digest(folder) != before


def test_large_files_are_sampled_to_both_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_source, "_WHOLE_FILE_BYTES", 100)
    monkeypatch.setattr(model_source, "_BLOCK_BYTES", 10)
    monkeypatch.setattr(model_source, "_SAMPLES", 5)
    zeros = folder_digest(checkpoint(tmp_path / "zeros", bytes(1000)))
    first = folder_digest(checkpoint(tmp_path / "first", b"\1" + bytes(999)))
    last = folder_digest(checkpoint(tmp_path / "last", bytes(999) + b"\1"))
    longer = folder_digest(checkpoint(tmp_path / "longer", bytes(1001)))
    assert len({zeros, first, last, longer}) == 4


def test_a_hub_models_version_is_its_commit() -> None:
    source = find_model("org/model")
    assert version_of(source, SimpleNamespace(_commit_hash="abc123")) == "abc123"
    with pytest.raises(EngineStartError, match="which commit"):
        version_of(source, SimpleNamespace(_commit_hash=None))


def test_an_adapter_changes_the_first_digits_of_the_version(tmp_path: Path) -> None:
    source = find_model(checkpoint(tmp_path / "model"))
    adapter = checkpoint(tmp_path / "adapter")
    bare = version_of(source, None)
    adapted = version_of(source, None, adapter)
    assert bare[:12] != adapted[:12]
    assert adapted == version_of(source, None, adapter)
