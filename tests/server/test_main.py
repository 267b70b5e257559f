import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

import server.__main__ as command_line
from server import serving_engine
from server.concepts.probes import PROBES_FILE
from server.engine import model_requirements
from server.engine.model_registry import UnknownModelError
from server.engine.model_requirements import measure_machine
from server.engine.protocol import Engine
from server.engine.stub import StubEngine
from server.engine.transformers_engine import TransformersEngine
from server.engine.vllm_engine import VllmEngine
from server.errors import EngineStartError
from server.settings import Settings, read_settings
from server.vlm.references import ReferenceFiles, reference_files

SERVE_STUB = """
import server.__main__ as command_line
from server.engine.stub import StubEngine
command_line._make_engine = lambda settings: StubEngine()
command_line._startup_check = lambda settings: None  # the stub has no opinion on pictures
command_line.main()
"""


@pytest.fixture(autouse=True)
def _keep_signal_handlers() -> Iterator[None]:
    """Serving in this process may set handlers; the test run's own come back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_bad_environment_ends_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIGHTWARD_PROT", "1")
    with pytest.raises(SystemExit) as raised:
        command_line.app(["serve"])
    assert raised.value.code == 2
    assert "did you mean SIGHTWARD_PORT?" in capsys.readouterr().err


def test_options_override_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Settings] = []
    monkeypatch.setenv("SIGHTWARD_PORT", "9000")
    monkeypatch.setenv("SIGHTWARD_MODEL", "from-environment")
    monkeypatch.setattr(command_line, "configure_logging", lambda **options: None)
    monkeypatch.setattr(command_line, "_serve", lambda settings: served.append(settings) or True)
    command_line.app(
        ["serve", "--host", "0.0.0.0", "--model", "folder"], result_action="return_value"
    )
    (settings,) = served
    assert (settings.host, settings.port, settings.model) == ("0.0.0.0", 9000, "folder")


def test_an_unusable_probe_file_ends_with_every_bad_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = json.loads(PROBES_FILE.read_text(encoding="utf-8"))
    shipped["judgements"][1]["unsafe_answer"] = "perhaps"
    del shipped["category"]
    probes = tmp_path / "probes.json"
    probes.write_text(json.dumps(shipped), encoding="utf-8")
    monkeypatch.setattr(command_line, "configure_logging", lambda **options: None)
    with pytest.raises(SystemExit) as raised:
        command_line.app(["serve", "--probes", str(probes)])
    assert raised.value.code == 2
    said = capsys.readouterr().err
    assert "judgements.1.unsafe_answer: " in said
    assert "category: Field required" in said


def test_serving_ends_when_the_engine_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def make_engine(settings: Settings) -> Engine:
        return StubEngine(start_error="no weights")

    monkeypatch.setattr(command_line, "_make_engine", make_engine)
    assert command_line._serve(read_settings(port=0)) is False


def test_the_command_line_does_not_import_vllm() -> None:
    script = (
        "import sys, server.__main__; sys.exit('vllm' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_served_then_drained_on_sigterm() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE_STUB, "serve", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "SIGHTWARD_LOG_FORMAT": "json"},
        text=True,
    )
    try:
        assert process.stdout is not None
        # The first line is written once the engine is ready; the socket listens soon after.
        first_line = process.stdout.readline()
        assert '"event": "engine ready"' in first_line
        response = post_when_listening(f"http://127.0.0.1:{port}/v1/moderations")
        assert response.status_code == 200
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=60)
        assert '"route": "/v1/moderations"' in rest
        assert "Traceback" not in rest
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def post_when_listening(url: str) -> httpx2.Response:
    transport = httpx2.HTTPTransport(retries=8)  # backs off between attempts to connect
    with httpx2.Client(transport=transport) as client:
        return client.post(url, json={"input": "a lake"})


def checkpoint_of(architecture: str, folder: Path) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    return str(folder)


@pytest.mark.parametrize(
    ("architecture", "engine"),
    [
        ("Idefics3ForConditionalGeneration", VllmEngine),
        ("InstructBlipForConditionalGeneration", TransformersEngine),
    ],
)
def test_a_model_is_served_by_vllm_where_vllm_knows_it(
    tmp_path: Path, architecture: str, engine: type
) -> None:
    settings = read_settings(model=checkpoint_of(architecture, tmp_path / "vlm"))

    assert isinstance(command_line._make_engine(settings), engine)


def test_the_variant_that_is_asked_for_is_served(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assembled: list[ReferenceFiles] = []
    monkeypatch.setattr(
        "server.vlm.assembly.assemble", lambda *, files: assembled.append(files) or tmp_path
    )
    for folder in ("reference", "reference-sft"):
        (tmp_path / folder).mkdir()
        for name in ("delta.safetensors", "adapter_model.safetensors"):
            (tmp_path / folder / name).touch()
    for module in (serving_engine, model_requirements):
        monkeypatch.setattr(module, "reference_files", lambda one: reference_files(one, tmp_path))

    for given in ({"reference": "sft"}, {"model": "reference:sft"}, {"reference": "base"}):
        command_line._make_engine(read_settings(**given))
    assert [files.name for files in assembled] == [
        "sightward-reference-sft",
        "sightward-reference-sft",
        "sightward-reference",
    ]
    with pytest.raises(EngineStartError, match="'dpo' are here; there are: base, sft"):
        command_line._make_engine(read_settings(reference="dpo"))


def test_a_misspelt_model_is_met_with_names_like_it() -> None:
    with pytest.raises(UnknownModelError, match=r"did you mean qwen2-vl-7b"):
        command_line._make_engine(read_settings(model="qwen2vl-7b"))


def test_a_model_that_runs_elsewhere_needs_an_address() -> None:
    with pytest.raises(EngineStartError, match="SIGHTWARD_MODEL_URL says where"):
        command_line._make_engine(read_settings(model="gpt-4.1"))


def test_a_model_that_can_not_run_here_is_refused_before_a_download(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = replace(measure_machine(), ram_free_bytes=1 << 30, gpu_name=None)
    monkeypatch.setattr(serving_engine, "measure_machine", lambda: small)
    with pytest.raises(EngineStartError, match="not enough memory"):
        command_line._make_engine(read_settings(model="llava-1.5-7b"))
