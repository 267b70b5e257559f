"""The two sets as S1's public repository keeps them on disk."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alignment.data.errors import LayoutError
from alignment.data.known_sets import SAFE_IMAGENET, UNSAFE_CONCEPTS
from alignment.data.repository_layout import read_repository_layout, repository_set

ENTRY = {"image_filename": "images/0.png", "category": "Hate", "unsafe_concept": "Swastika"}


@pytest.fixture
def repository(tmp_path: Path, png: Callable[[int], bytes]) -> Callable[..., Path]:
    def repository(*entries: Any, name: str = "metadata.jsonl") -> Path:
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "0.png").write_bytes(png(0))
        (tmp_path / "0.png").write_bytes(png(0))
        lines = [json.dumps(entry) for entry in entries]
        text = "\n".join(lines) if name.endswith("l") else json.dumps(list(entries), indent=2)
        (tmp_path / name).write_text(text)
        return tmp_path

    return repository


def test_unsafe_concepts(repository: Callable[..., Path], png: Callable[[int], bytes]) -> None:
    folder = repository(ENTRY)
    assert repository_set(folder) is UNSAFE_CONCEPTS
    (one,) = read_repository_layout(folder, UNSAFE_CONCEPTS)
    assert (one.label, one.concept, one.category) == ("Unsafe", "Swastika", "Hate")
    assert (one.data, one.origin) == (png(0), "images/0.png")


@pytest.mark.parametrize(
    "named", ["0.png", "data/imagenet_1k/0.png", "/pictures/imagenet_1k/0.png"]
)
def test_the_safe_set_wherever_it_was_made(repository: Callable[..., Path], named: str) -> None:
    entry = {"image_filename": named, "concept": "tench"}
    folder = repository(entry, name="metadata.json")
    assert repository_set(folder) is SAFE_IMAGENET
    (one,) = read_repository_layout(folder, SAFE_IMAGENET)
    assert (one.label, one.concept, one.origin) == ("Safe", "tench", "0.png")


def test_the_hubs_metadata_file_is_another_layout(repository: Callable[..., Path]) -> None:
    folder = repository({"file_name": "0.png", "unsafe_concept": "Swastika"})
    assert repository_set(folder) is None


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        (
            [ENTRY, ENTRY | {"image_filename": "images/1.png"}],
            "1 of its 2 pictures are not there, such as images/1.png",
        ),
        ([ENTRY | {"image_filename": "../0.png"}], "'../0.png' is no path inside the folder"),
        ([ENTRY | {"image_filename": "/0.png"}], "'/0.png' is no path inside the folder"),
        ([{"image_filename": "images/0.png"}], "an entry lacks one of category, image_filename"),
        ([ENTRY, ["Swastika"]], "an entry lacks one of"),
    ],
)
def test_a_list_that_cant_be_used_is_named(
    repository: Callable[..., Path], entries: list[Any], problem: str
) -> None:
    folder = repository(*entries)
    with pytest.raises(LayoutError, match=problem):
        list(read_repository_layout(folder, UNSAFE_CONCEPTS))


def test_a_line_that_is_no_json_is_named(repository: Callable[..., Path]) -> None:
    folder = repository(ENTRY)
    with (folder / "metadata.jsonl").open("a") as lines:
        lines.write('\n{"image_filename": ')
    with pytest.raises(LayoutError, match=r"metadata\.jsonl:2: no JSON"):
        list(read_repository_layout(folder, UNSAFE_CONCEPTS))
