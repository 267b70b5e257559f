"""Building the open set: what is left out, what stops the build, and that it can be repeated."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alignment.data.build_open_set import OpenSetError, SourceLine, build_open_set, refusal
from alignment.data.manifest import ManifestError, read_image_set
from alignment.data.open_set import open_set_folder

Line = dict[str, Any]


def line_of(name: str, **changes: Any) -> Line:
    fields = {
        "id": name,
        "file": f"images/{name}.webp",
        "width": 16,
        "height": 16,
        "style": "icon",
        "concept": "Arson",
        "category": "Illegal activity",
        "label": "Unsafe",
        "caption": "an icon of arson",
        "source": "npm:@iconify-json/game-icons@1.2.4#arson",
        "license": "CC-BY-3.0",
        "proxy": "direct",
        "split": "test",
        "group": f"icon:{name}",
    }
    return fields | changes


def write_refset(folder: Path, lines: list[Line]) -> Path:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number, line in enumerate(lines):
        picture = Image.new("RGB", (16, 16), (number * 20 % 256, 80, 160))
        picture.save(folder / line["file"], format="WEBP", lossless=True)
    write_manifest(folder, lines)
    return folder


def write_manifest(folder: Path, lines: list[Line]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "manifest.jsonl").write_text(text)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"split": "train"}, "not of the test split"),
        ({"split": None}, "not of the test split"),
        ({"style": "photo"}, "style 'photo' is not icon or emoji"),
        ({"style": "screenshot"}, "style 'screenshot' is not icon or emoji"),
        ({"source": "github:someone/icons@1.0#arson"}, "not from an icon package"),
        ({"license": "CC-BY-SA-4.0"}, "licence 'CC-BY-SA-4.0' is not permitted"),
        ({"license": "CC-BY-NC-4.0"}, "licence 'CC-BY-NC-4.0' is not permitted"),
        ({"license": "MIT (repository licence)"}, "is not permitted"),
        ({"license": ""}, "licence '' is not permitted"),
    ],
)
def test_the_rule_leaves_out_what_may_not_be_given_away(
    tmp_path: Path, changes: Line, reason: str
) -> None:
    kept, left_out = line_of("kept"), line_of("left-out", **changes)
    refset = write_refset(tmp_path / "refset", [left_out, kept])

    chosen = build_open_set(refset, tmp_path / "out")

    assert reason in (refusal(SourceLine(**left_out)) or "")
    assert [one.line.id for one in chosen] == ["kept"]
    assert [path.name for path in (tmp_path / "out" / "images").iterdir()] == ["kept.webp"]
    assert [example.id for example in read_image_set(tmp_path / "out").examples] == ["kept"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source": "npm:@iconify-json/unheard-of@1.0.0#arson"}, "nobody is credited for"),
        ({"source": "npm:@iconify-json/game-icons@9.9.9#arson"}, "nobody is credited for"),
        ({"source": "npm:@iconify-json/game-icons@1.2.4#nameless"}, "names no artist for"),
        ({"license": "MIT"}, "the manifest says MIT, @iconify-json/game-icons is under CC-BY-3.0"),
        ({"width": 17}, "is WEBP of 16 x 16 pixels"),
        ({"group": "icon:seen"}, "its group 'icon:seen' was trained on"),
    ],
)
def test_what_is_not_what_its_manifest_says_stops_the_build(
    tmp_path: Path, changes: Line, reason: str
) -> None:
    lines = [line_of("seen", split="train"), line_of("good"), line_of("bad", **changes)]
    refset = write_refset(tmp_path / "refset", lines)

    with pytest.raises(OpenSetError) as caught:
        build_open_set(refset, tmp_path / "out")

    assert caught.value.reason.startswith("bad: ")
    assert reason in caught.value.reason
    assert not (tmp_path / "out").exists()


def as_png(path: Path) -> None:
    Image.new("RGB", (16, 16)).save(path, format="PNG")


def with_exif(path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    Image.new("RGB", (16, 16)).save(path, format="WEBP", exif=exif)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (as_png, "is PNG of 16 x 16 pixels"),
        (with_exif, "carries metadata: exif"),
        (lambda path: path.write_bytes(b"no picture"), "can't be read as a picture"),
        (lambda path: path.write_bytes(path.read_bytes()[:30]), "can't be read as a picture"),
        (Path.unlink, "can't be read as a picture"),
    ],
)
def test_a_file_that_is_no_plain_webp_stops_the_build(
    tmp_path: Path, harm: Callable[[Path], None], reason: str
) -> None:
    refset = write_refset(tmp_path / "refset", [line_of("one")])
    harm(refset / "images" / "one.webp")

    with pytest.raises(OpenSetError, match=reason):
        build_open_set(refset, tmp_path / "out")


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([line_of("one") | {"id": "../one"}], r"jsonl:1: id: String should match pattern"),
        ([line_of("one"), line_of("two") | {"id": "one"}], r"jsonl:2: id 'one' stands twice"),
        ([line_of("one") | {"width": 0}], r"jsonl:1: width: "),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, lines: list[Line], reason: str) -> None:
    refset = write_refset(tmp_path / "refset", [line_of("one"), line_of("two")])
    write_manifest(refset, lines)

    with pytest.raises(ManifestError, match=reason):
        build_open_set(refset, tmp_path / "out")


def test_too_many_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refset = write_refset(tmp_path / "refset", [line_of("one"), line_of("two")])
    monkeypatch.setattr("alignment.data.build_open_set.MAX_OPEN_BYTES", 20)

    with pytest.raises(OpenSetError, match=r"bytes of images, the limit is 20"):
        build_open_set(refset, tmp_path / "out")


def test_a_set_that_stands_is_not_overwritten(tmp_path: Path) -> None:
    refset = write_refset(tmp_path / "refset", [line_of("one")])
    build_open_set(refset, tmp_path / "out")

    with pytest.raises(OpenSetError, match=r"already holds manifest\.jsonl, images, ATTRIBUTION"):
        build_open_set(refset, tmp_path / "out")


def test_the_order_of_the_manifest_changes_nothing(tmp_path: Path) -> None:
    lines = [line_of("one"), line_of("two"), line_of("three", split="train")]
    refset = write_refset(tmp_path / "refset", lines)
    build_open_set(refset, tmp_path / "forth")
    write_manifest(refset, lines[::-1])
    build_open_set(refset, tmp_path / "back")

    assert files_of(tmp_path / "forth") == files_of(tmp_path / "back")


def test_the_shipped_set_builds_itself_again_byte_for_byte(tmp_path: Path) -> None:
    build_open_set(open_set_folder(), tmp_path / "out")

    shipped = files_of(open_set_folder())
    del shipped["README.md"]
    assert files_of(tmp_path / "out") == shipped


def test_every_picture_names_who_drew_it(tmp_path: Path) -> None:
    noto = line_of("noto", source="npm:@iconify-json/noto@1.2.9#goblin", license="Apache-2.0")
    refset = write_refset(tmp_path / "refset", [line_of("icon"), noto])
    chosen = build_open_set(refset, tmp_path / "out")

    page = (tmp_path / "out" / "ATTRIBUTION.md").read_text()
    assert {one.line.id: one.author for one in chosen} == {
        "icon": "Lorc",
        "noto": "Google Inc",
    }
    assert "icons made by Lorc (1)" in page
    assert "author: Google Inc, <https://github.com/googlefonts/noto-emoji>" in page
    assert "rasterised to WebP, 16 to 16 pixels" in page
    assert "Twitter" not in page


def test_the_command_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "alignment.data.build_open_set"]
    ended = subprocess.run(
        [*command, str(tmp_path), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ")
    assert "manifest.jsonl" in ended.stderr
    assert "Traceback" not in ended.stderr
