"""Which engine an option set comes to, and what is refused before anything is loaded."""

from pathlib import Path

import pytest

from benchmarks.engines import EngineOptions, engine_label, open_engine
from benchmarks.errors import MeasurementError
from server.engine.model_registry import UnknownModelError
from server.engine.model_requirements import measure_machine
from server.engine.remote import RemoteEngine
from server.engine.stub import StubEngine
from server.engine.transformers_engine import TransformersEngine
from server.engine.vllm_engine import VllmEngine


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "some-vlm"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["Idefics3ForConditionalGeneration"]}')
    return folder


def test_a_folder_is_served_by_vllm_unless_another_engine_is_named(checkpoint: Path) -> None:
    assert isinstance(open_engine(EngineOptions(str(checkpoint))), VllmEngine)
    by_transformers = EngineOptions(str(checkpoint), kind="transformers", dtype="float32")
    assert isinstance(open_engine(by_transformers), TransformersEngine)


def test_an_address_makes_any_name_a_remote_model() -> None:
    options = EngineOptions("my-vlm", url="http://127.0.0.1:9/v1")

    assert isinstance(open_engine(options), RemoteEngine)
    assert options.choice(measure_machine()).model == "my-vlm"


def test_the_reference_model_is_known_by_name(reference_checkpoint: Path) -> None:
    assert isinstance(open_engine(EngineOptions()), VllmEngine)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(UnknownModelError, match="unknown model"):
        open_engine(EngineOptions("no-such-model"))


def test_a_model_that_can_not_run_here_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    with pytest.raises(MeasurementError, match=r"gpt-4\.1 can't run here: no API key"):
        open_engine(EngineOptions("gpt-4.1"))


@pytest.mark.parametrize(
    ("option", "fields"),
    [
        ("--url", {"url": "http://127.0.0.1:9/v1", "kind": "vllm"}),
        ("--trust-remote-code", {"trust_remote_code": True}),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    checkpoint: Path, option: str, fields: dict[str, object]
) -> None:
    with pytest.raises(MeasurementError, match=f"{option} means nothing"):
        open_engine(EngineOptions(str(checkpoint), **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "fields"),
    [
        ("--adapter", {"adapter": Path("adapter")}),
        ("--dtype", {"dtype": "bfloat16"}),
        ("--revision", {"revision": "main"}),
    ],
)
def test_a_remote_model_takes_no_option_of_a_local_one(
    option: str, fields: dict[str, object]
) -> None:
    with pytest.raises(MeasurementError, match=f"{option} means nothing"):
        open_engine(
            EngineOptions("m", url="http://127.0.0.1:9/v1", **fields)  # type: ignore[arg-type]
        )


def test_what_a_record_shows_holds_no_key_address_or_folder(checkpoint: Path) -> None:
    options = EngineOptions("my-vlm", url="http://user:pass@127.0.0.1:9/v1", api_key="sk-secret")

    shown = str(options.shown())
    assert not [secret for secret in ("sk-secret", "127.0.0.1", "pass") if secret in shown]
    assert EngineOptions(str(checkpoint), adapter=checkpoint).shown() == {
        "model": "some-vlm",
        "engine": "vllm",
        "adapter": "some-vlm",
        "revision": None,
        "dtype": None,
    }


def test_an_engine_is_named_by_its_kind() -> None:
    assert engine_label(StubEngine()) == "stub"
    assert engine_label(TransformersEngine("folder")) == "transformers"
