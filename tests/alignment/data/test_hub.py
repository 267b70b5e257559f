"""Sets on the hub, by the real library against a server that answers as the hub does."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from alignment.data.columns import ColumnMap
from alignment.data.errors import (
    CacheWriteError,
    DataError,
    GatedSetError,
    HubUnreachableError,
    LayoutError,
    RefusedTokenError,
    UnknownHubSetError,
    UnknownRevisionError,
    UnnamedColumnsError,
)
from alignment.data.manifest import ImageSet
from alignment.data.sources import open_image_set

SET = "yiting/UnsafeConcepts"
PAGE = "huggingface.co/datasets/yiting/UnsafeConcepts"


@dataclass
class Hub:
    """What the tests use of the fake hub (a fixture can't be imported)."""

    gated: set[str]
    granted: set[str]
    tokens: set[str]
    broken: bool
    asked: list[str]
    add: Callable[..., None]


@pytest.fixture
def opened(tmp_path: Path, hub: Hub) -> Callable[..., ImageSet]:
    def opened(repo_id: str = SET, **asked: Any) -> ImageSet:
        return open_image_set(repo_id, cache_dir=tmp_path / "cache", **asked)

    return opened


@pytest.fixture
def gated(hub: Hub, unsafe_concepts: Path) -> Hub:
    """A hub that holds the set, gated, with one account that may see it and one that may not."""
    hub.add(SET, unsafe_concepts, gated=True)
    hub.tokens |= {"granted", "not granted"}
    hub.granted |= {"granted"}
    return hub


def refused(opened: Callable[..., ImageSet], kind: type[DataError], **asked: Any) -> str:
    with pytest.raises(kind) as caught:
        opened(**asked)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_gated_set_with_access(
    gated: Hub, opened: Callable[..., ImageSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "granted")
    images = opened()
    assert (images.name, len(images.examples)) == ("UnsafeConcepts", 8)
    assert [path for path in gated.asked if "/resolve/" in path]
    gated.asked.clear()
    assert opened().sha256 == images.sha256
    assert not [path for path in gated.asked if "/resolve/" in path]


def test_a_gated_set_without_a_token(gated: Hub, opened: Callable[..., ImageSet]) -> None:
    message = refused(opened, GatedSetError)
    assert "there is no token" in message
    assert f"ask for access at {PAGE}" in message
    assert "HF_TOKEN" in message


def test_a_gated_set_with_a_token_that_has_no_access(
    gated: Hub, opened: Callable[..., ImageSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "not granted")
    message = refused(opened, GatedSetError)
    assert "the token in use has no access" in message
    assert PAGE in message


def test_a_token_that_the_hub_does_not_know(
    gated: Hub, opened: Callable[..., ImageSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "mistyped")
    assert "refused the token" in refused(opened, RefusedTokenError)


@pytest.mark.parametrize(
    ("token", "who"), [("", "a caller without a token"), ("granted", "the token in use")]
)
def test_an_id_that_the_hub_does_not_know(
    gated: Hub,
    opened: Callable[..., ImageSet],
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    who: str,
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    message = refused(opened, UnknownHubSetError, repo_id="yiting/SMID")
    assert "no folder 'yiting/SMID' here" in message
    assert who in message


def test_a_revision_that_is_not_there(
    hub: Hub, unsafe_concepts: Path, opened: Callable[..., ImageSet]
) -> None:
    hub.add(SET, unsafe_concepts)
    assert "no revision 'v9'" in refused(opened, UnknownRevisionError, revision="v9")


def test_a_hub_that_fails_or_is_away(
    hub: Hub,
    opened: Callable[..., ImageSet],
    monkeypatch: pytest.MonkeyPatch,
    closed_port: int,
) -> None:
    hub.broken = True
    assert "the hub answered 500" in refused(opened, HubUnreachableError)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{closed_port}")
    assert "can't be reached" in refused(opened, HubUnreachableError)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused(opened, HubUnreachableError)


@pytest.fixture
def closed_port() -> int:
    """A port of this machine that nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_a_set_that_was_imported_before_is_used_when_the_hub_is_away(
    hub: Hub,
    unsafe_concepts: Path,
    opened: Callable[..., ImageSet],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    hub.add(SET, unsafe_concepts)
    images = opened()
    hub.broken = True
    assert opened() == images  # the library's own copy of the files still tells the commit
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "emptied"))
    stored = opened()
    assert stored.sha256 == images.sha256
    assert stored.notes == (f"an earlier import of {SET} was used: the hub answered 500",)
    refused(opened, HubUnreachableError, revision="main")  # nobody imported that request


def test_any_set_with_its_columns_named(
    hub: Hub,
    parquet: Callable[..., Path],
    png: Callable[[int], bytes],
    opened: Callable[..., ImageSet],
) -> None:
    rows = [{"img": {"bytes": png(n), "path": None}, "nsfw": bool(n % 2)} for n in range(4)]
    hub.add("someone/some-set", parquet(rows))
    columns = ColumnMap.parse("image=img,label=nsfw,unsafe=true")
    images = opened("someone/some-set", columns=columns)
    assert images.name == "some-set"
    assert [one.label for one in images.examples] == ["Safe", "Unsafe"] * 2


def test_columns_are_asked_for_before_anything_is_downloaded(
    hub: Hub, unsafe_concepts: Path, opened: Callable[..., ImageSet]
) -> None:
    hub.add("someone/some-set", unsafe_concepts)
    message = refused(opened, UnnamedColumnsError, repo_id="someone/some-set")
    assert "name its columns, such as" in message
    assert hub.asked == []


def test_only_the_files_asked_for_are_downloaded(
    hub: Hub,
    parquet: Callable[..., Path],
    png: Callable[[int], bytes],
    opened: Callable[..., ImageSet],
) -> None:
    for number, split in enumerate(("train", "test")):
        image = {"bytes": png(number), "path": None}
        folder = parquet([{"image": image, "x": 1}], "large", split)
    hub.add("someone/large", folder)
    columns = ColumnMap.parse("label=x,unsafe=1,files=data/test-*")
    assert len(opened("someone/large", columns=columns).examples) == 1
    assert not [path for path in hub.asked if "train-" in path]
    # The library keeps both parts in one folder, so only what was asked for may be read of it.
    other = ColumnMap.parse("label=x,unsafe=1,files=data/train-*")
    assert len(opened("someone/large", columns=other).examples) == 1
    none = ColumnMap.parse("label=x,unsafe=1,files=nothing/*")
    refused(opened, LayoutError, repo_id="someone/large", columns=none)


def test_an_image_folder_on_the_hub(
    hub: Hub,
    png: Callable[[int], bytes],
    opened: Callable[..., ImageSet],
    tmp_path: Path,
    table_reader: None,
) -> None:
    """The library keeps downloads as links to files elsewhere; those are read all right."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "0.png").write_bytes(png(0))
    line = '{"file_name": "0.png", "category": "Hate", "unsafe_concept": "Swastika"}\n'
    (folder / "metadata.jsonl").write_text(line)
    hub.add(SET, folder)
    assert [one.concept for one in opened().examples] == ["Swastika"]


def test_a_cache_that_cant_be_written_is_named(
    hub: Hub,
    unsafe_concepts: Path,
    opened: Callable[..., ImageSet],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.add(SET, unsafe_concepts)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file"))
    assert str(tmp_path / "file") in refused(opened, CacheWriteError)
