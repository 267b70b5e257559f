import pytest

from server.errors import SettingsError
from server.ingest.limits import ImageLimits
from server.settings import Settings, read_settings


def test_defaults() -> None:
    settings = read_settings()
    assert settings.host == "127.0.0.1"
    assert settings.model is None
    assert settings.api_keys == ()
    assert settings.image_limits() == ImageLimits()


def test_environment_and_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTWARD_PORT", "9000")
    monkeypatch.setenv("SIGHTWARD_HOST", "0.0.0.0")
    monkeypatch.setenv("SIGHTWARD_MAX_IMAGES", "")
    settings = read_settings(port=9001, host=None)
    assert settings.port == 9001
    assert settings.host == "0.0.0.0"
    assert settings.max_images == Settings().max_images


def test_unknown_keys_are_refused_with_the_likely_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTWARD_MAX_IMAGE_BYTE", "1")
    monkeypatch.setenv("SIGHTWARD_QQQQ", "1")
    monkeypatch.setenv("OTHER_KEY", "1")
    with pytest.raises(SettingsError) as raised:
        read_settings()
    assert raised.value.problems == (
        "unknown setting SIGHTWARD_MAX_IMAGE_BYTE (did you mean SIGHTWARD_MAX_IMAGE_BYTES?)",
        "unknown setting SIGHTWARD_QQQQ",
    )


def test_bad_values_are_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTWARD_MAX_INPUTS", "my-secret")
    monkeypatch.setenv("SIGHTWARD_DECODE_THREADS", "0")
    with pytest.raises(SettingsError) as raised:
        read_settings()
    problems = " / ".join(raised.value.problems)
    assert "SIGHTWARD_MAX_INPUTS" in problems
    assert "SIGHTWARD_DECODE_THREADS" in problems
    assert "my-secret" not in problems


def test_keys_are_split_and_kept_out_of_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTWARD_API_KEYS", " first , second,, ")
    settings = read_settings()
    assert [key.get_secret_value() for key in settings.api_keys] == ["first", "second"]
    assert "first" not in repr(settings)


def test_a_variant_of_the_reference_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTWARD_REFERENCE", "sft")
    assert read_settings().reference == "sft"
    assert read_settings(reference="dpo").reference == "dpo"
    with pytest.raises(SettingsError, match=r"SIGHTWARD_REFERENCE: .*'ppo'"):
        read_settings(reference="rlhf")


def test_a_model_and_a_reference_are_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTWARD_MODEL", "owner/name")
    with pytest.raises(SettingsError) as raised:
        read_settings(reference="sft")
    (problem,) = raised.value.problems
    assert problem.startswith("SIGHTWARD_MODEL and SIGHTWARD_REFERENCE")
