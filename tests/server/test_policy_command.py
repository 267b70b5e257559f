"""`sightward policy fingerprint` names pictures as the server with these settings will."""

from pathlib import Path

import pytest
from PIL import Image

from server.ingest.decode import ImageDecoder
from server.ingest.limits import ImageLimits
from server.policy_command import fingerprint


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    file = tmp_path / "photo.jpg"
    Image.radial_gradient("L").resize((2_400, 1_200)).convert("RGB").save(file, quality=90)
    return file


@pytest.mark.parametrize("decode_side_px", [500, 2_000])
def test_fingerprints_are_those_of_the_settings(
    photo: Path,
    decode_side_px: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SIGHTWARD_DECODE_SIDE_PX", str(decode_side_px))
    fingerprint(photo)
    limits = ImageLimits(draft_side_px=decode_side_px)
    expected = ImageDecoder(limits).decode(photo.read_bytes()).fingerprint
    assert capsys.readouterr().out == f"{expected}  # {photo}\n"


def test_settings_that_are_wrong_are_named(
    photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIGHTWARD_DECODE_SIDE_PX", "many")
    with pytest.raises(SystemExit):
        fingerprint(photo)
    assert "SIGHTWARD_DECODE_SIDE_PX" in capsys.readouterr().err


def test_what_is_no_picture_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("words", encoding="utf-8")
    with pytest.raises(SystemExit):
        fingerprint(tmp_path / "notes.txt", tmp_path / "missing.jpg")
    said = capsys.readouterr().err
    assert "notes.txt" in said
    assert "missing.jpg" in said
