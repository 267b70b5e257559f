"""An import is made once, whole or not at all, and never believed blindly."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from alignment.data.errors import CacheWriteError, LayoutError
from alignment.data.foreign import ForeignPicture
from alignment.data.importing import ImportRequest, imported, latest_import

Read = Callable[[], Iterator[ForeignPicture]]

REQUEST = ImportRequest("some set", "owner/some set", "v1", {"columns": None})


class Source:
    """Four pictures, and how often they were asked for."""

    def __init__(self, png: Callable[[int], bytes]) -> None:
        self.reads = 0
        self._png = png

    def read(self) -> Iterator[ForeignPicture]:
        self.reads += 1
        for number in range(4):
            yield ForeignPicture(self._png(number), "Unsafe", f"row {number}", concept="Arson")


@pytest.fixture
def source(png: Callable[[int], bytes]) -> Source:
    return Source(png)


def visible(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if not path.name.startswith("."))


def test_it_is_made_once(source: Source, tmp_path: Path) -> None:
    first = imported(REQUEST, tmp_path, source.read)
    assert imported(REQUEST, tmp_path, source.read) == first
    assert source.reads == 1
    assert first.folder.name.startswith("some-set-")
    assert first.name == "some set"


def test_several_at_once_do_the_work_once(source: Source, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        sets = list(threads.map(lambda _: imported(REQUEST, tmp_path, source.read), range(8)))
    assert source.reads == 1
    assert len({one.sha256 for one in sets}) == 1


@pytest.mark.parametrize(
    "other", [{"version": "v2"}, {"asked": {"columns": "x"}}, {"source": "other/some set"}]
)
def test_another_request_is_another_folder(
    source: Source, tmp_path: Path, other: dict[str, object]
) -> None:
    imported(REQUEST, tmp_path, source.read)
    imported(replace(REQUEST, **other), tmp_path, source.read)
    assert source.reads == len(visible(tmp_path)) == 2


@pytest.mark.parametrize("end", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_import_leaves_nothing_behind(
    source: Source, tmp_path: Path, end: type[BaseException]
) -> None:
    def cut() -> Iterator[ForeignPicture]:
        yield from list(source.read())[:2]
        raise end

    with pytest.raises(end):
        imported(REQUEST, tmp_path, cut)
    assert visible(tmp_path) == []
    assert list(tmp_path.glob(".*.partial")) == []
    assert len(imported(REQUEST, tmp_path, source.read).examples) == 4


def test_what_a_killed_import_left_is_cleared_away(source: Source, tmp_path: Path) -> None:
    name = REQUEST.folder_in(tmp_path).name
    leftover = tmp_path / f".{name}.killed.partial"
    (leftover / "images").mkdir(parents=True)
    imported(REQUEST, tmp_path, source.read)
    assert not leftover.exists()


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: next((folder / "images").iterdir()).write_bytes(b"other bytes"),
        lambda folder: next((folder / "images").iterdir()).unlink(),
        lambda folder: (folder / "manifest.jsonl").write_text(
            (folder / "manifest.jsonl").read_text().replace("Arson", "Torture")
        ),
        lambda folder: (folder / "import.json").unlink(),
        lambda folder: (folder / "import.json").write_text("{}"),
    ],
)
def test_a_changed_import_is_made_again(
    source: Source, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    first = imported(REQUEST, tmp_path, source.read)
    harm(first.folder)
    assert imported(REQUEST, tmp_path, source.read) == first
    assert source.reads == 2


def test_the_newest_import_of_any_version_is_found(source: Source, tmp_path: Path) -> None:
    import os

    for age, version in enumerate(("v3", "v1", "v2")):
        images = imported(replace(REQUEST, version=version), tmp_path, source.read)
        os.utime(images.folder / "import.json", (1000 - age, 1000 - age))
    found = latest_import(tmp_path, REQUEST.source, REQUEST.asked)
    assert found is not None
    assert json.loads((found.folder / "import.json").read_text())["version"] == "v3"
    assert latest_import(tmp_path, REQUEST.source, {"columns": "x"}) is None
    assert latest_import(tmp_path, "someone/else", REQUEST.asked) is None


def test_an_import_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="some set: no picture can be used: it holds none"):
        imported(REQUEST, tmp_path, lambda: iter(()))
    broken = ForeignPicture(b"GIF", "Safe", "row 0")
    with pytest.raises(LayoutError, match="left out because they can't be decoded: 1"):
        imported(REQUEST, tmp_path, lambda: iter([broken]))


def test_a_cache_that_is_a_file_is_named(source: Source, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CacheWriteError, match=r"can't write the data cache at .*file"):
        imported(REQUEST, tmp_path / "file", source.read)


def test_a_source_that_cant_be_read_is_not_called_the_cache(tmp_path: Path) -> None:
    def read() -> Iterator[ForeignPicture]:
        yield ForeignPicture((tmp_path / "gone.png").read_bytes(), "Safe", "row 0")

    with pytest.raises(LayoutError, match=r"owner/some set: gone\.png can't be read: No such file"):
        imported(REQUEST, tmp_path / "cache", read)


def test_a_large_set_is_taken_in_batches(png: Callable[[int], bytes], tmp_path: Path) -> None:
    def read() -> Iterator[ForeignPicture]:
        for number in range(70):
            yield ForeignPicture(png(number), "Safe", f"row {number}", concept=f"{number}")

    images = imported(REQUEST, tmp_path, read)
    assert [one.concept for one in images.examples] == [f"{number}" for number in range(70)]
