"""Reading a labelled folder: what comes out, what is refused and how it is said."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from alignment.data.errors import PictureFileError
from alignment.data.manifest import Example, ImageSet, ManifestError, read_image_set


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
        (change("split", "dev"), "split: Input should be 'train', 'validation' or 'test'"),
        (lambda line: line.pop("concept"), "concept: Field required"),
        (change("file", "nowhere.png"), "image 'nowhere.png' is missing"),
        (change("id", "p0"), "id 'p0' stands twice"),
        (change("concept", "Arsen"), "unknown concept 'Arsen'"),
        (change("category", "Hate"), "concept 'Arson' is of 'Illegal activity', not 'Hate'"),
        (change("category", "Crime"), "concept 'Arson' is of 'Illegal activity', not 'Crime'"),
        (
            lambda line: line.update(concept="", category="Crime"),
            "unknown category 'Crime'",
        ),
        (lambda line: line.update(label="Safe"), "a safe image is of category 'Safe', not"),
        (change("file", "../p.png"), "file: '../p.png' is no path inside the folder"),
        (change("file", "a/../../p.png"), "is no path inside the folder"),
        (change("file", "/etc/hostname"), "'/etc/hostname' is no path inside the folder"),
        (change("file", ""), "'' is no path inside the folder"),
        (lambda line: line.pop("split"), "split is given on some lines and not on others"),
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


def test_what_is_no_json_is_named_by_its_line(labelled_folder: Path) -> None:
    path = labelled_folder / "manifest.jsonl"
    lines = path.read_bytes().splitlines()
    lines[2] = b'{"id": "\xff"}'
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(ManifestError, match=r"jsonl:3: Invalid JSON") as caught:
        read_image_set(labelled_folder)
    assert "\n" not in str(caught.value)


def test_the_hash_knows_neither_folder_nor_order(
    labelled_folder: Path, images: ImageSet, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere" / "copy"
    shutil.copytree(labelled_folder, moved)
    lines = (moved / "manifest.jsonl").read_text().splitlines()
    random.Random(1).shuffle(lines)
    (moved / "manifest.jsonl").write_text("\n".join(lines))
    again = read_image_set(moved)
    assert again.examples != images.examples
    assert (again.sha256, again.name) == (images.sha256, "copy")


def test_the_hash_of_other_examples_is_as_if_read(labelled_folder: Path, images: ImageSet) -> None:
    fewer = images.with_examples(images.examples[3:])
    path = labelled_folder / "manifest.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[3:]))
    assert fewer.sha256 == read_image_set(labelled_folder).sha256 != images.sha256


def example(**fields: Any) -> Example:
    return Example(**({"id": "a", "file": "a.png", "label": "Unsafe", "concept": ""} | fields))


@pytest.mark.parametrize(
    ("fields", "concept", "category"),
    [
        ({}, "", ""),
        ({"category": "Hate"}, "", "Hate"),
        ({"concept": "Arson"}, "Arson", "Illegal activity"),
        ({"concept": "Arson", "category": "Illegal activity"}, "Arson", "Illegal activity"),
        ({"label": "Safe"}, "", "Safe"),
        ({"label": "Safe", "concept": "apple"}, "apple", "Safe"),
    ],
)
def test_unknown_names_stay_empty_and_implied_ones_are_filled_in(
    fields: dict[str, str], concept: str, category: str
) -> None:
    one = example(**fields)
    assert (one.concept, one.category, one.split) == (concept, category, None)


def test_a_safe_image_has_no_unsafe_category() -> None:
    with pytest.raises(ValidationError, match="a safe image is of category 'Safe'"):
        example(label="Safe", category="Hate")


def test_without_splits_everything_may_be_measured(labelled_folder: Path, images: ImageSet) -> None:
    assert images.is_split
    assert images.held_out() == images.split("test")
    path = labelled_folder / "manifest.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line["split"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    unsplit = read_image_set(labelled_folder)
    assert not unsplit.is_split
    assert unsplit.split("test") == unsplit.split("train") == ()
    assert len(unsplit.held_out()) == 12


def test_a_picture_is_opened_upright_opaque_and_rgb(
    labelled_folder: Path, images: ImageSet
) -> None:
    first = images.examples[0]
    clear = Image.new("RGBA", (5, 3), (255, 0, 0, 0))
    clear.save(labelled_folder / first.file)
    opened = images.open(first)
    assert (opened.mode, opened.size) == ("RGB", (5, 3))
    assert opened.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "the PNG file is cut short"),
        (lambda path: path.write_bytes(b""), "holds nothing"),
        (lambda path: path.write_bytes(b"no picture"), "not one of "),
        (lambda path: path.unlink(), "No such file or directory"),
    ],
)
def test_a_picture_that_cant_be_opened_is_named(
    images: ImageSet, harm: Callable[[Path], None], reason: str
) -> None:
    broken = images.examples[4]
    harm(images.path_of(broken))
    with pytest.raises(PictureFileError, match=reason) as caught:
        images.open(broken)
    assert str(caught.value).startswith(f"{images.folder / '4.png'}: ")
