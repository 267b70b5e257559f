"""`sightward config`: the environment is checked with the files that it names."""

from pathlib import Path

import pytest

from server.__main__ import app
from server.settings_table import settings_table


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        app(["config", *arguments])
    return int(ended.value.code or 0)


def test_what_is_set_is_shown_and_secrets_are_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIGHTWARD_PORT", "9000")
    monkeypatch.setenv("SIGHTWARD_API_KEYS", "hush")

    assert run("check") == 0
    said = capsys.readouterr().out
    assert "SIGHTWARD_PORT=9000" in said
    assert "SIGHTWARD_API_KEYS=" in said
    assert "hush" not in said
    assert "SIGHTWARD_HOST" not in said


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("SIGHTWARD_PRT", "1", "did you mean SIGHTWARD_PORT"),
        ("SIGHTWARD_PORT", "x", "SIGHTWARD_PORT: "),
        ("SIGHTWARD_POLICY", "broken.json", "broken.json: "),
        ("SIGHTWARD_CALIBRATION", "broken.json", "broken.json: "),
        ("SIGHTWARD_PROBES", "nowhere.json", "nowhere.json: "),
        ("SIGHTWARD_API_KEYS_FILE", "broken.json", "broken.json"),
    ],
)
def test_what_can_not_be_served_with_is_named(
    name: str,
    value: str,
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "broken.json").write_text("{")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)

    assert run("check") == 2
    captured = capsys.readouterr()
    assert problem in captured.err
    assert "ok" not in captured.out


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("table") == 0
    assert capsys.readouterr().out == settings_table()
