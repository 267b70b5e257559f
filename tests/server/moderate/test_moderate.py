"""``sightward moderate``: which files, which rows, which exit code, and going on after a stop."""

import csv
import io
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import stamina
from PIL import Image
from rich.console import Console

from server.engine.protocol import Answer, ModelCard, Question
from server.engine.stub import StubEngine
from server.errors import EngineStartError
from server.moderate import command
from server.moderate.errors import ModerateError, NoAnswerError
from server.moderate.exit_codes import FailOn
from server.moderate.files import named_files
from server.moderate.own_service import own_service
from server.moderate.rows import COLUMNS
from server.moderate.run import ModerateOptions, run_moderate
from server.settings import Settings

Connect = Callable[[], AbstractAsyncContextManager[httpx2.AsyncClient]]
SHADES = {"safe": 255, "doubtful": 150, "unsafe": 0}


def by_brightness(question: Question) -> Answer:
    """P(unsafe) is the darkness of the first pixel; a blue one gets no answer."""
    assert question.image is not None
    red, _, blue = question.image.getpixel((0, 0))
    if blue > red:
        return Answer({"yes": 0.001, "no": 0.001})
    return Answer({"yes": red / 255, "no": 1 - red / 255})


def stub(settings: Settings | None = None) -> StubEngine:
    del settings
    return StubEngine(by_brightness, card=ModelCard("stub", "0" * 12, has_recognition=False))


def no_check(settings: Settings) -> None:
    del settings


@pytest.fixture(autouse=True)
def no_pauses() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3):
        yield


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with a picture of each kind, one damaged, and things that are no pictures."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for name, shade in SHADES.items():
        Image.new("RGB", (16, 16), (shade, shade, shade)).save(folder / f"{name}.png")
    Image.new("RGB", (16, 16), (0, 0, 9)).save(folder / "below" / "blue.png")
    (folder / "below" / "damaged.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (folder / ".hidden" / "x.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no picture")
    return folder


def here() -> Connect:
    return lambda: own_service(Settings(), make_engine=stub, startup_check=no_check)


def answering(*responses: httpx2.Response | Exception) -> Connect:
    """A service that gives these answers one after the other, the last one for ever."""
    left = list(responses)

    def answer(request: httpx2.Request) -> httpx2.Response:
        del request
        response = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(response, Exception):
            raise response
        return response

    @asynccontextmanager
    async def connect() -> AsyncIterator[httpx2.AsyncClient]:
        transport = httpx2.MockTransport(answer)
        async with httpx2.AsyncClient(transport=transport, base_url="http://there/") as client:
            yield client

    return connect


def refusal(status: int, code: str, **headers: str) -> httpx2.Response:
    error = {"message": "no.", "type": "x", "param": None, "code": code}
    return httpx2.Response(status, json={"error": error}, headers=headers)


def good() -> httpx2.Response:
    detail = {
        "outcome": "safe",
        "p_unsafe": 0.1,
        "action": "allow",
        "categories": {},
        "concepts": [],
        "model_version": "m",
        "policy_version": "p",
    }
    return httpx2.Response(200, json={"results": [{"flagged": False, "sightward": detail}]})


class Ran:
    def __init__(self, *paths: object, connect: Connect | None = None, **options: Any) -> None:
        stdout, said = io.StringIO(), io.StringIO()
        self.code = run_moderate(
            ModerateOptions(tuple(map(str, paths)), **options),
            connect or here(),
            stdout=stdout,
            console=Console(file=said, width=200),
        )
        self.rows = [json.loads(line) for line in stdout.getvalue().splitlines()]
        self.said = said.getvalue()


def test_every_picture_has_a_row_and_what_was_not_judged_is_not_allowed(pictures: Path) -> None:
    ran = Ran(pictures)
    rows = {Path(row["file"]).name: row for row in ran.rows}
    assert rows.keys() == {"safe.png", "doubtful.png", "unsafe.png", "blue.png", "damaged.jpg"}
    assert {name: row["action"] for name, row in rows.items()} == {
        "safe.png": "allow",
        "doubtful.png": "review",
        "unsafe.png": "block",
        "blue.png": "review",
        "damaged.jpg": "review",
    }
    assert [rows[name]["outcome"] for name in ("blue.png", "damaged.jpg")] == ["undetermined"] * 2
    assert (rows["damaged.jpg"]["error"], rows["blue.png"]["error"]) == ("truncated_image", None)
    assert rows["unsafe.png"]["p_unsafe"] == pytest.approx(1.0)
    assert "5 files: 1 block, 1 review, 1 allow, 2 not judged" in ran.said
    assert ran.code == 1


@pytest.mark.parametrize(
    ("names", "fail_on", "code"),
    [
        (["safe"], "block", 0),
        (["safe", "doubtful"], "block", 0),
        (["safe", "doubtful"], "review", 1),
        (["unsafe"], "block", 1),
        (["unsafe"], "never", 0),
        (["safe", "below/damaged.jpg"], "block", 3),
        (["safe", "below/blue"], "review", 3),
        (["unsafe", "below/damaged.jpg"], "block", 1),
        (["missing"], "block", 3),
    ],
)
def test_the_exit_code_says_what_was_found(
    pictures: Path, names: list[str], fail_on: FailOn, code: int
) -> None:
    paths = [pictures / (name if "." in name else f"{name}.png") for name in names]
    assert Ran(*paths, fail_on=fail_on).code == code


def test_what_is_not_there_or_unreadable_has_a_row(pictures: Path) -> None:
    ran = Ran(pictures / "missing.png", pictures / "a\0b.png", pictures / "notes.txt")
    assert [row["error"] for row in ran.rows] == [
        "missing_file",
        "unreadable_file",
        "unsupported_image_format",
    ]
    assert {row["outcome"] for row in ran.rows} == {"undetermined"}


def test_files_are_named_once_in_order_from_arguments_and_lists(pictures: Path) -> None:
    listed = [f"{pictures}/unsafe.png\n", "\n", f"{pictures}/below\r\n"]
    found = named_files([f"{pictures}/./safe.png", "-", str(pictures)], listed=listed)
    assert [os.path.relpath(file.name, pictures) for file in found] == [
        "safe.png",
        "unsafe.png",
        "below/blue.png",
        "below/damaged.jpg",
        "doubtful.png",
    ]


def test_a_folder_that_cannot_be_listed_has_a_row(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("below"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", refuse)
    (failed,) = [file for file in named_files([str(pictures)]) if file.error]
    assert (failed.name, failed.problem) == (str(pictures / "below"), "Permission denied")


def test_csv_has_a_column_a_field(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    Ran(pictures / "unsafe.png", pictures / "missing.png", out=out)
    with out.open(newline="") as file:
        rows = {Path(row["file"]).name: row for row in csv.DictReader(file)}
    assert tuple(rows["unsafe.png"]) == COLUMNS
    assert (rows["unsafe.png"]["action"], rows["missing.png"]["action"]) == ("block", "")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_resuming_keeps_what_was_judged_and_judges_the_rest(
    pictures: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"out{suffix}"
    missing = pictures / "late.png"
    assert Ran(pictures / "safe.png", missing, out=out).code == 3
    whole = out.read_text()
    with out.open("a") as file:
        file.write(whole.splitlines()[-1][:20])  # as a kill would leave it
    Image.new("RGB", (16, 16), "white").save(missing)
    engine = stub()
    connect: Connect = lambda: own_service(  # noqa: E731
        Settings(), make_engine=lambda _: engine, startup_check=no_check
    )
    ran = Ran(
        pictures / "safe.png",
        missing,
        pictures / "unsafe.png",
        connect=connect,
        out=out,
        is_resumed=True,
    )
    asked = [question for question in engine.questions if question.options == ("yes", "no")]
    assert len(asked) == 2, "a picture that was judged was judged again"
    assert "3 files: 1 block, 0 review, 2 allow, 0 not judged" in ran.said
    assert ran.code == 1
    again = Ran(pictures / "safe.png", connect=answering(ValueError()), out=out, is_resumed=True)
    assert "3 files" in again.said


def test_an_output_is_not_overwritten_and_must_be_of_a_known_kind(
    pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    out.write_text("mine")
    with pytest.raises(ModerateError, match="--resume"):
        Ran(pictures, out=out)
    out.write_text("mine\nand yours\n")
    with pytest.raises(ModerateError, match="not a file that this command wrote"):
        Ran(pictures, out=out, is_resumed=True)
    with pytest.raises(ModerateError, match="csv"):
        Ran(pictures, out=tmp_path / "out.xlsx")
    assert out.read_text() == "mine\nand yours\n"


def test_refusals_that_pass_are_tried_again(pictures: Path) -> None:
    late = {"retry-after-ms": "1"}
    connect = answering(refusal(429, "queue_full", **late), httpx2.ConnectError("broken"), good())
    ran = Ran(pictures / "safe.png", connect=connect)
    assert (ran.rows[0]["action"], ran.code) == ("allow", 0)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx2.ConnectError("refused"), NoAnswerError),
        (refusal(503, "engine_starting"), NoAnswerError),
        (refusal(401, "invalid_api_key"), ModerateError),
        (httpx2.Response(404, text="nginx"), ModerateError),
        (httpx2.Response(200, json={"results": [{"flagged": False}]}), ModerateError),
        (httpx2.Response(200, text="hello"), ModerateError),
    ],
    ids=["down", "not ready", "key", "other server", "no detail", "no JSON"],
)
def test_a_service_that_cannot_be_asked_ends_the_command(
    pictures: Path, answer: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        Ran(pictures / "safe.png", connect=answering(answer))


@pytest.mark.parametrize("status", [400, 413, 422, 500, 504])
def test_what_concerns_one_file_is_its_row(pictures: Path, status: int) -> None:
    connect = answering(refusal(status, "bad"), good())
    ran = Ran(pictures / "safe.png", pictures / "unsafe.png", connect=connect, at_once=1)
    assert [row["error"] for row in ran.rows] == ["bad", None]
    assert ran.code == 3


def command_exit(*paths: str, **options: Any) -> int:
    with pytest.raises(SystemExit) as ended:
        command.moderate(list(paths), **options)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_command_judges_with_a_model_of_its_own(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("server.serving_engine.make_engine", stub)
    monkeypatch.setattr("server.serving_engine.startup_check", no_check)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{pictures}/safe.png\n"))
    # What the service's environment says about callers is no concern of this one.
    monkeypatch.setenv("SIGHTWARD_API_KEYS", "secret")
    assert command_exit("-") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["action"] == "allow"
    assert "1 file: 0 block, 0 review, 1 allow, 0 not judged" in said.err


def test_a_model_that_cannot_be_loaded_ends_the_command(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(settings: Settings) -> StubEngine:
        raise EngineStartError("no memory")

    monkeypatch.setattr("server.serving_engine.make_engine", fail)
    monkeypatch.setattr("server.serving_engine.startup_check", no_check)
    assert command_exit(str(pictures)) == 3
    said = capsys.readouterr()
    assert "the model can't be started" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    "options",
    [
        {"url": "ftp://there"},
        {"url": "http://there", "model": "x"},
        {"at_once": 0},
        {"resume": True},
        {"policy": Path("missing.yaml")},
    ],
    ids=["scheme", "both", "none at once", "nothing to resume", "no policy"],
)
def test_a_command_that_cannot_be_carried_out_says_so_in_a_line(
    pictures: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any]
) -> None:
    assert command_exit(str(pictures), **options) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("sightward: ")
