"""The command, against a model behind a real OpenAI-compatible endpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.capabilities.cli import capabilities
from benchmarks.capabilities.schema import CapabilitiesRecord, read_record
from benchmarks.errors import MeasurementError
from server.errors import EngineStartError


@pytest.fixture
def data(tmp_path: Path, write_set: Callable[[Path], Path]) -> Path:
    return write_set(tmp_path / "pictures")


@pytest.fixture
def measure(openai_server: Any, data: Path, tmp_path: Path) -> Callable[..., CapabilitiesRecord]:
    """Runs the command on the small set; the endpoint says no to everything."""
    openai_server.answer = lambda chat: openai_server.say("No.", top={"No": 0.9, "Yes": 0.05})

    def run(**options: Any) -> CapabilitiesRecord:
        wanted = {
            "model": "some-vlm",
            "url": openai_server.base_url,
            "data": str(data),
            "suite": "alignment,context,perception",
            "resamples": 20,
            "out": tmp_path / "run",
        }
        capabilities(**(wanted | options))
        return read_record(tmp_path / "run" / "record.json")

    return run


def test_a_remote_model_is_measured_and_its_figures_printed(
    measure: Callable[..., CapabilitiesRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    record = measure()

    assert record.model.engine == "remote, read by probabilities"
    assert (record.data.name, record.data.examples) == ("pictures", 6)
    assert {row.outcome for row in record.answers if row.suite == "alignment"} == {"unsafe"}
    assert {row.outcome for row in record.answers if row.suite == "perception"} == {"no answer"}
    printed = capsys.readouterr().out
    assert "some-vlm" in printed
    assert "record:" in printed


def test_the_same_command_asks_nothing_again(
    measure: Callable[..., CapabilitiesRecord], openai_server: Any
) -> None:
    first = measure()
    openai_server.forget()
    again = measure()

    asked = [chat for chat in openai_server.chats if "Could anyone post" in chat.text]
    assert asked == []
    assert again.answers == first.answers
    assert again.figures == first.figures


def test_a_dry_run_asks_nothing(
    measure: Callable[..., CapabilitiesRecord],
    openai_server: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(MeasurementError):  # there is no record to read
        measure(dry_run=True)

    assert openai_server.chats == []
    assert not (tmp_path / "run").exists()
    printed = capsys.readouterr().out
    assert "remote model some-vlm" in printed
    assert "questions  78" in printed


def test_written_answers_can_be_read_by_a_judge(
    measure: Callable[..., CapabilitiesRecord], openai_server: Any
) -> None:
    record = measure(
        suite="alignment",
        mode="written",
        classifier="llm-judge",
        judge="some-judge",
        judge_url=openai_server.base_url,
    )

    assert "some-judge" in record.model.readers["written"]
    assert {chat.body["model"] for chat in openai_server.chats} == {"some-vlm", "some-judge"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"suite": "perceptoin"}, "--suite: no perceptoin"),
        ({"mode": ""}, "--mode: nothing in the list"),
        ({"split": "train"}, "'train'"),
        ({"general": "nonsense", "suite": "general"}, "no general benchmark"),
        ({"classifier": "llm-judge"}, "needs a judge"),
        ({"judge_url": "http://127.0.0.1:9/v1"}, "without --judge"),
        ({"engine": "vllm"}, "--url means nothing"),
    ],
)
def test_what_can_not_be_measured_is_said_in_one_line(
    measure: Callable[..., CapabilitiesRecord], options: dict[str, str], reason: str
) -> None:
    if options.get("engine") == "vllm":
        options = options | {"model": "reference"}
    with pytest.raises(MeasurementError, match=reason) as caught:
        measure(**options)

    assert "\n" not in str(caught.value)


def test_an_endpoint_that_is_not_there_is_said(
    measure: Callable[..., CapabilitiesRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineStartError, match="no connection"):
        measure(url="http://127.0.0.1:9/v1")
