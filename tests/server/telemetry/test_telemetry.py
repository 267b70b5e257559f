import json
from collections.abc import Iterator

import pytest
import structlog

from server.telemetry import Metrics, RequestRecord, configure_logging


@pytest.fixture(autouse=True)
def _restore_structlog() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def fail_beside_a_secret() -> None:
    secret = "hunter2"
    raise RuntimeError("failed" if secret else "")


def test_json_lines_hold_the_record(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", log_format="json")
    record = RequestRecord(request_id="trace-1", method="POST", status=200, images=2)
    record.outcomes["safe"] += 1
    record.model_version = "m@1"
    record.log()
    line = json.loads(capsys.readouterr().out)
    assert line["event"] == "request"
    assert (line["level"], line["request_id"], line["status"]) == ("info", "trace-1", 200)
    assert (line["images"], line["outcomes"], line["model_version"]) == (2, {"safe": 1}, "m@1")
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_tracebacks_show_no_variables(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    configure_logging(level="info", log_format="json" if log_format == "json" else "console")
    record = RequestRecord(request_id="trace-1", method="POST", status=500)
    try:
        fail_beside_a_secret()
    except RuntimeError as error:
        record.log(error)
    written = capsys.readouterr().out
    assert "RuntimeError" in written
    assert "fail_beside_a_secret" in written
    assert "hunter2" not in written


def test_the_level_is_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="error", log_format="json")
    RequestRecord(request_id="trace-1", method="GET").log()
    assert capsys.readouterr().out == ""


def test_two_apps_in_one_process_have_metrics_of_their_own() -> None:
    first, second = Metrics(), Metrics()
    first.count_result("undetermined", "review")
    assert first.registry.get_sample_value("sightward_undetermined_total") == 1.0
    assert second.registry.get_sample_value("sightward_undetermined_total") == 0.0
