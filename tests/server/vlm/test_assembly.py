"""The checkpoint cache: whole or absent, whatever happens while it is built."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from server.engine.model_source import folder_digest
from server.vlm import assembly
from server.vlm.assembly import AssemblyError, assemble, is_whole, read_base_digest, read_digest
from server.vlm.references import (
    BASE,
    MODEL_NAME,
    SAFETY_NAME,
    ReferenceFiles,
    adapted_files,
    reference_files,
)

# Stands in for the ten seconds of a real build; what is tested here is everything around it.
QUICK_BUILD = """
import sys, time
from pathlib import Path
from server.vlm import assembly

def write(folder, files, base_digest):
    (folder / "model.safetensors").write_bytes(b"weights" * 1000)
    if "half" in sys.argv:
        print("half way", flush=True)
        time.sleep(600)
    time.sleep(0.3)
    (folder / "config.json").write_text("{}")
    with open(sys.argv[2], "a") as log:
        log.write("built\\n")

assembly._write_checkpoint = write
print(assembly.assemble(Path(sys.argv[1])), flush=True)
"""


def builder(cache: Path, log: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", textwrap.dedent(QUICK_BUILD), str(cache), str(log), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def quick_build(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replace the build by two small files; the list grows by one a build."""
    built: list[Path] = []

    def write(folder: Path, files: ReferenceFiles, base_digest: str) -> None:
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "config.json").write_text("{}")
        built.append(files.delta)

    monkeypatch.setattr(assembly, "_write_checkpoint", write)
    return built


def leftovers(cache: Path) -> list[Path]:
    return list((cache / "models").glob(".*.partial"))


def test_a_second_start_builds_nothing(tmp_path: Path, quick_build: list[Path]) -> None:
    first = assemble(tmp_path)
    assert assemble(tmp_path) == first
    assert len(quick_build) == 1
    digest = read_digest(first)
    assert digest is not None
    assert first.name.endswith(digest[:12])


def test_a_whole_checkpoint_is_found_where_nobody_may_write(
    tmp_path: Path, quick_build: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = assemble(tmp_path)

    def no_lock(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(assembly, "FileLock", no_lock)
    assert assemble(tmp_path) == checkpoint
    (checkpoint / "config.json").write_text("[]")
    with pytest.raises(AssemblyError, match="Read-only"):
        assemble(tmp_path)


def test_two_servers_that_start_at_once_share_one_build(tmp_path: Path) -> None:
    log = tmp_path / "log"
    servers = [builder(tmp_path, log) for _ in range(3)]
    answers = {server.communicate(timeout=120)[0].strip() for server in servers}
    assert [server.returncode for server in servers] == [0, 0, 0]
    assert len(answers) == 1
    assert is_whole(Path(answers.pop()))
    assert log.read_text() == "built\n"


def test_a_kill_half_way_leaves_nothing_that_is_used(
    tmp_path: Path, quick_build: list[Path]
) -> None:
    server = builder(tmp_path, tmp_path / "log", "half")
    assert server.stdout is not None
    assert server.stdout.readline() == "half way\n"
    server.send_signal(signal.SIGKILL)
    server.communicate(timeout=60)
    assert len(leftovers(tmp_path)) == 1

    checkpoint = assemble(tmp_path)

    assert is_whole(checkpoint)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "manifest"])
def test_a_corrupt_file_is_found_and_rebuilt(
    tmp_path: Path, quick_build: list[Path], harm: str
) -> None:
    checkpoint = assemble(tmp_path)
    weights = checkpoint / "model.safetensors"
    if harm == "flip":
        weights.write_bytes(b"Weights")
    elif harm == "cut":
        weights.write_bytes(b"weigh")
    elif harm == "remove":
        weights.unlink()
    else:
        (checkpoint / "sightward_manifest.json").write_text("{")
    assert not is_whole(checkpoint)

    assert assemble(tmp_path) == checkpoint

    assert is_whole(checkpoint)
    assert weights.read_bytes() == b"weights"
    assert len(quick_build) == 2
    assert leftovers(tmp_path) == []


def test_a_full_disk_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(folder: Path, files: ReferenceFiles, base_digest: str) -> None:
        (folder / "model.safetensors").write_bytes(b"wei")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(assembly, "_write_checkpoint", write)
    with pytest.raises(AssemblyError, match="No space left"):
        assemble(tmp_path)
    assert leftovers(tmp_path) == []
    assert not any((tmp_path / "models").glob(f"{MODEL_NAME}-*"))


def test_a_real_build_against_a_limit_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    # The kernel refuses to let any file grow past 50 MB: the weights' own writer fails half way.
    script = f"""
        import resource
        from pathlib import Path
        from server.vlm.assembly import AssemblyError, assemble
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000_000, 50_000_000))
        try:
            assemble(Path({str(tmp_path)!r}))
        except AssemblyError as error:
            print("refused:", error.reason)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert run.stdout.startswith("refused:")
    assert leftovers(tmp_path) == []
    assert not any((tmp_path / "models").glob(f"{MODEL_NAME}-*"))


def base_of_file(path: Path, content: bytes) -> ReferenceFiles:
    path.write_bytes(content)
    return ReferenceFiles(MODEL_NAME, path)


def adapter_in(folder: Path, content: bytes = b"adapter") -> Path:
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(content)
    (folder / "adapter_config.json").write_text("{}")
    return folder


def test_another_delta_makes_another_checkpoint(tmp_path: Path, quick_build: list[Path]) -> None:
    one = assemble(tmp_path, files=base_of_file(tmp_path / "one", b"1"))
    other = assemble(tmp_path, files=base_of_file(tmp_path / "other", b"2"))
    assert one != other
    assert read_base_digest(one) == read_digest(one) != read_base_digest(other)


def test_another_adapter_on_one_base_makes_another_checkpoint(
    tmp_path: Path, quick_build: list[Path]
) -> None:
    base = base_of_file(tmp_path / "delta", b"1")
    adapted = [
        assemble(tmp_path, files=adapted_files("aligned", base.delta, adapter_in(folder, content)))
        for folder, content in ((tmp_path / "a", b"a"), (tmp_path / "b", b"b"))
    ]
    plain = assemble(tmp_path, files=base)
    assert len({plain, *adapted}) == 3
    assert [folder.name.rsplit("-", 1)[0] for folder in adapted] == ["aligned", "aligned"]
    assert {read_base_digest(folder) for folder in (plain, *adapted)} == {read_digest(plain)}


def test_a_calibration_goes_along_and_makes_another_version(
    tmp_path: Path, quick_build: list[Path]
) -> None:
    base, adapter = base_of_file(tmp_path / "delta", b"1"), adapter_in(tmp_path / "adapter")
    raw = assemble(tmp_path, files=adapted_files("aligned", base.delta, adapter))
    (adapter / "calibration.json").write_text('{"temperature": 2}')
    calibrated = assemble(tmp_path, files=adapted_files("aligned", base.delta, adapter))
    assert (calibrated / "calibration.json").read_text() == '{"temperature": 2}'
    assert not (raw / "calibration.json").exists()
    assert is_whole(calibrated)
    assert folder_digest(raw) != folder_digest(calibrated)
    assert read_base_digest(raw) == read_base_digest(calibrated)
    (calibrated / "calibration.json").write_text('{"temperature": 3}')
    assert not is_whole(calibrated)


def test_a_missing_delta_is_said(tmp_path: Path) -> None:
    with pytest.raises(AssemblyError, match=r"gone\.safetensors"):
        assemble(tmp_path, files=ReferenceFiles(MODEL_NAME, tmp_path / "gone.safetensors"))


def test_the_shipped_checkpoint_is_one_directory_without_code(reference_checkpoint: Path) -> None:
    assert is_whole(reference_checkpoint)
    assert {path.suffix for path in reference_checkpoint.iterdir()} <= {
        ".json",
        ".jinja",
        ".safetensors",
    }
    config = json.loads((reference_checkpoint / "config.json").read_text())
    assert "auto_map" not in config
    assert config["architectures"] == ["SightwardForConditionalGeneration"]


def safety_in(folder: Path, *, base: str, **shape: Any) -> Path:
    """A folder with safety modules drawn by chance."""
    from server.vlm.safety import SafetyModules
    from server.vlm.safety_file import write_safety
    from tests.server.vlm.shapes import reference_shape

    folder.mkdir()
    write_safety(folder / SAFETY_NAME, SafetyModules(reference_shape(**shape)), base=base)
    return folder


def test_other_safety_modules_make_another_checkpoint(
    tmp_path: Path, quick_build: list[Path]
) -> None:
    base = base_of_file(tmp_path / "delta", b"1")
    folders = [safety_in(tmp_path / name, base="0", depth=0) for name in "ab"]
    built = [assemble(tmp_path, files=adapted_files("safe", base.delta, one)) for one in folders]
    plain = assemble(tmp_path, files=base)
    assert len({plain, *built}) == 3
    assert {read_base_digest(one) for one in built} == {read_digest(plain)}


@pytest.mark.parametrize("shape", [{}, {"heads": 3}])
def test_safety_modules_of_another_base_or_shape_are_refused(
    tmp_path: Path, reference_checkpoint: Path, shape: dict[str, Any]
) -> None:
    from server.vlm.safety_file import SafetyFileError

    digest = read_base_digest(reference_checkpoint) if shape else "0123"
    assert digest is not None
    folder = safety_in(tmp_path / "safe", base=digest, **shape)
    files = adapted_files("safe", reference_files(BASE).delta, folder)
    with pytest.raises(SafetyFileError, match="heads is 3" if shape else "trained on base 0123"):
        assemble(tmp_path, files=files)
    assert leftovers(tmp_path) == []


def test_safety_modules_leave_the_base_as_it_is(tmp_path: Path, reference_checkpoint: Path) -> None:
    from safetensors.torch import load_file

    digest = read_base_digest(reference_checkpoint)
    assert digest is not None
    folder = safety_in(tmp_path / "safe", base=digest, seen_tokens=2, query="text")
    files = adapted_files("safe", reference_files(BASE).delta, folder)
    built = assemble(tmp_path, files=files)
    tensors = load_file(built / "model.safetensors")
    base = load_file(reference_checkpoint / "model.safetensors")
    for name, tensor in load_file(folder / SAFETY_NAME).items():
        assert tensors.pop(f"safety.{name}").equal(tensor)
    assert tensors.keys() == base.keys()
    assert all(tensor.equal(base[name]) for name, tensor in tensors.items())
    config = json.loads((built / "config.json").read_text())
    assert config["safety"]["query"] == "text"
    assert sorted(config["safety_token_ids"]["types"].values())[-1] < len(
        tensors["language_model.model.embed_tokens.weight"]
    )
    processor = json.loads((built / "processor_config.json").read_text())
    assert processor["image_positions"] == config["grid"] ** 2 + config["safety_tokens"] + 2
