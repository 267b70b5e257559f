"""Reading a labelled folder: what comes out, what is refused and how it is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alignment.data.manifest import ImageSet, ManifestError, read_image_set


def test_splits_keep_the_manifests_order(images: ImageSet) -> None:
    assert [example.id for example in images.split("test")] == ["p10", "p11"]
    assert len(images.split("train")) == 10
    assert images.path_of(images.examples[0]).name == "0.png"


def test_the_hash_names_the_contents(labelled_folder: Path, images: ImageSet) -> None:
    assert read_image_set(labelled_folder).sha256 == images.sha256
    (labelled_folder / "3.png").write_bytes((labelled_folder / "4.png").read_bytes())
    assert read_image_set(labelled_folder).sha256 != images.sha256


def change(field: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda line: line.update({field: value})


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (change("label", "Maybe"), "label: Input should be 'Safe' or 'Unsafe'"),
        (change("split", "dev"), "split: Input should be 'train' or 'test'"),
        (lambda line: line.pop("concept"), "concept: Field required"),
        (change("file", "nowhere.png"), "image 'nowhere.png' is missing"),
        (change("id", "p0"), "id 'p0' stands twice"),
        (change("concept", "Arsen"), "unknown concept 'Arsen'"),
        (change("category", "Hate"), "concept 'Arson' is of 'Illegal activity', not 'Hate'"),
    ],
)
def test_a_bad_line_is_named(
    labelled_folder: Path, harm: Callable[[dict[str, Any]], None], reason: str
) -> None:
    path = labelled_folder / "manifest.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    harm(lines[1])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ManifestError) as caught:
        read_image_set(labelled_folder)
    assert caught.value.line == 2
    assert reason in caught.value.reason


def test_near_duplicates_on_both_sides_of_the_split_are_refused(labelled_folder: Path) -> None:
    path = labelled_folder / "manifest.jsonl"
    lines = [json.loads(line) | {"group": "twins"} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ManifestError, match=r"jsonl:11: group 'twins' is in both splits"):
        read_image_set(labelled_folder)


def test_an_empty_or_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such file"):
        read_image_set(tmp_path)
    (tmp_path / "manifest.jsonl").write_text("\n")
    with pytest.raises(ManifestError, match="holds no image"):
        read_image_set(tmp_path)
