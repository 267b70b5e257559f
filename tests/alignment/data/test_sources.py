"""Every source comes out as the same kind of set, with the bytes its owner published."""

import base64
import gc
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alignment.data.columns import ColumnMap
from alignment.data.errors import LayoutError, UnknownSourceError, UnnamedColumnsError
from alignment.data.manifest import ImageSet
from alignment.data.sources import open_image_set

Png = Callable[[int], bytes]
Parquet = Callable[..., Path]
Open = Callable[..., ImageSet]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """`open_image_set` with a cache of its own."""

    def opened(spec: str | Path, text: str = "", **asked: Any) -> ImageSet:
        columns = ColumnMap.parse(text) if text else None
        return open_image_set(spec, columns=columns, cache_dir=tmp_path / "cache", **asked)

    return opened


def cell(data: bytes) -> dict[str, Any]:
    return {"bytes": data, "path": None}


def sha256s(images: ImageSet) -> list[str]:
    return [images.image_sha256[example.id] for example in images.examples]


def test_a_folder_with_a_manifest_is_read_where_it_lies(
    labelled_folder: Path, images: ImageSet, opened: Open
) -> None:
    assert opened(str(labelled_folder)) == images
    assert opened(labelled_folder).folder == labelled_folder


@pytest.mark.parametrize("asked", [{"text": "all=safe"}, {"split": "test"}, {"revision": "v1"}])
def test_a_manifest_takes_no_columns(
    labelled_folder: Path, opened: Open, asked: dict[str, str]
) -> None:
    with pytest.raises(LayoutError, match=r"takes no columns and no split|has no revisions"):
        opened(labelled_folder, **asked)


def test_unsafe_concepts_in_the_hubs_layout(unsafe_concepts: Path, png: Png, opened: Open) -> None:
    images = opened(unsafe_concepts)
    assert sha256s(images) == [hashlib.sha256(png(number)).hexdigest() for number in range(8)]
    assert {(one.label, one.concept, one.category) for one in images.examples} == {
        ("Unsafe", "Swastika", "Hate"),
        ("Unsafe", "Torture", "Violence"),
        ("Unsafe", "The Illuminati", "Deception"),
    }
    assert not images.is_split  # its one split, "train", is the whole set
    assert images.notes == ()
    assert images.open(images.examples[0]).size == (56, 56)
    manifest = (images.folder / "manifest.jsonl").read_text()
    assert json.loads(manifest.splitlines()[3])["origin"] == "train/3"


def test_the_same_pictures_have_the_same_hash_from_anywhere(
    unsafe_concepts: Path, png: Png, opened: Open, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    (repository / "images").mkdir(parents=True)
    kinds = [("Hate", "Swastika")] * 5 + [("Violence", "Torture")] * 2
    kinds.append(("Deception", "The Illuminati"))
    lines = []
    for number, (category, concept) in reversed(list(enumerate(kinds))):
        file = f"images/{number}.png"
        (repository / file).write_bytes(png(number))
        entry = {"image_filename": file, "category": category, "unsafe_concept": concept}
        lines.append(json.dumps(entry) + "\n")
    (repository / "metadata.jsonl").write_text("".join(lines))
    from_repository = opened(repository)
    assert from_repository.sha256 == opened(unsafe_concepts).sha256
    assert from_repository.name == "UnsafeConcepts"
    assert from_repository.examples[0].concept == "The Illuminati"


# The `datasets` library leaves a CSV file open, until the collection at the test's end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_image_folder_with_a_metadata_file(
    png: Png, opened: Open, tmp_path: Path, table_reader: None
) -> None:
    folder = tmp_path / "imagefolder" / "train"
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.png").write_bytes(png(number))
    rows = [f"{number}.png,Hate,Swastika\n" for number in range(3)]
    (folder / "metadata.csv").write_text("file_name,category,unsafe_concept\n" + "".join(rows))
    images = opened(folder.parent)
    assert [one.concept for one in images.examples] == ["Swastika"] * 3
    assert sha256s(images) == [hashlib.sha256(png(number)).hexdigest() for number in range(3)]
    gc.collect()


def test_a_folder_a_class_goes_by_class_name(
    png: Png, opened: Open, tmp_path: Path, table_reader: None
) -> None:
    for number, name in enumerate(("drawings", "neutral", "porn", "porn")):
        folder = tmp_path / "nsfw" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(png(number))
    images = opened(tmp_path / "nsfw", "label=label,unsafe=porn")
    assert sorted((one.label, one.category) for one in images.examples) == [
        ("Safe", "Safe"),
        ("Safe", "Safe"),
        ("Unsafe", ""),
        ("Unsafe", ""),
    ]


def test_the_safe_set_is_safe_whatever_its_classes(
    parquet: Parquet, png: Png, opened: Open
) -> None:
    rows = [{"image": cell(png(n)), "concept": name} for n, name in enumerate(("apple", "boat"))]
    images = opened(parquet(rows, "imagenet"))
    assert [(one.label, one.concept, one.category) for one in images.examples] == [
        ("Safe", "apple", "Safe"),
        ("Safe", "boat", "Safe"),
    ]


def test_a_set_that_only_looks_like_the_safe_one_is_not_taken_for_it(
    parquet: Parquet, png: Png, opened: Open
) -> None:
    rows = [{"image": cell(png(0)), "concept": "Swastika"}]
    with pytest.raises(LayoutError, match="'Swastika' is an unsafe concept in a set taken as all"):
        opened(parquet(rows))


def bench_row(data: bytes, label: str, category: str) -> dict[str, Any]:
    return {
        "image": cell(data),
        "safety_label": label,
        "category": category,
        "source": "Lexica",
        "text": "a prompt",
    }


def test_unsafe_bench_keeps_its_splits_and_the_categories_we_share(
    parquet: Parquet, png: Png, opened: Open
) -> None:
    parquet([bench_row(png(0), "Safe", "Hate"), bench_row(png(1), "Unsafe", "Self-Harm")], "bench")
    rows = [bench_row(png(2), "Unsafe", "Political"), bench_row(png(3), "Unsafe", "Hate")]
    images = opened(parquet(rows, "bench", "test"))
    assert [(one.label, one.category, one.split, one.caption) for one in images.examples] == [
        ("Safe", "Safe", "train", "a prompt"),
        ("Unsafe", "Self-harm", "train", "a prompt"),
        ("Unsafe", "", "test", "a prompt"),
        ("Unsafe", "Hate", "test", "a prompt"),
    ]
    assert images.held_out() == images.examples[2:]
    assert images.notes == (
        "unsafe, of a category outside the taxonomy, taken as unknown: 1 (Political)",
    )


def test_a_train_picture_that_is_also_in_the_test_split_is_left_out(
    parquet: Parquet, png: Png, draw: Callable[[int], Any], opened: Open, tmp_path: Path
) -> None:
    draw(1).resize((80, 80)).save(tmp_path / "copy.png")
    copy = (tmp_path / "copy.png").read_bytes()
    parquet([bench_row(png(0), "Safe", ""), bench_row(copy, "Unsafe", "Hate")], "bench")
    images = opened(parquet([bench_row(png(1), "Unsafe", "Hate")], "bench", "test"))
    assert [one.split for one in images.examples] == ["train", "test"]
    assert images.notes == ("left out of train as near-duplicates of test pictures: 1",)
    left_out = json.loads((images.folder / "import.json").read_text())["left_out"]
    assert left_out == {"train/1": "a near-duplicate of a test picture"}


def test_one_of_the_sources_own_splits(parquet: Parquet, png: Png, opened: Open) -> None:
    parquet([bench_row(png(0), "Unsafe", "Hate")], "bench")
    folder = parquet([bench_row(png(1), "Unsafe", "Hate")], "bench", "test")
    images = opened(folder, split="test")
    assert len(images.examples) == 1
    assert not images.is_split
    with pytest.raises(LayoutError, match="no split 'dev'; it has train, test"):
        opened(folder, split="dev")


def test_pictures_as_text_by_name_or_bare(parquet: Parquet, png: Png, opened: Open) -> None:
    """Base64 text is how S1's SMID and NSFW sets come."""
    text = base64.b64encode(png(0)).decode()
    folder = parquet([{"image": text, "label": 1}, {"image": "pictures/1.png", "label": 0}])
    (folder / "pictures").mkdir()
    (folder / "pictures" / "1.png").write_bytes(png(1))
    images = opened(folder, "label=label,unsafe=1,safe=0")
    assert [one.label for one in images.examples] == ["Unsafe", "Safe"]
    assert sha256s(images) == [hashlib.sha256(png(number)).hexdigest() for number in range(2)]
    bare = opened(parquet([{"image": png(2), "label": 1}], "bare"), "label=label,unsafe=1")
    assert sha256s(bare) == [hashlib.sha256(png(2)).hexdigest()]


@pytest.mark.parametrize("path", ["../secret.png", "/secret.png", "{tmp}/secret.png"])
def test_a_table_cant_name_a_file_outside_its_folder(
    parquet: Parquet, png: Png, opened: Open, tmp_path: Path, path: str
) -> None:
    (tmp_path / "secret.png").write_bytes(png(5))
    named = path.format(tmp=tmp_path)
    image = {"bytes": None, "path": named}
    rows = [{"image": image, "text": named, "x": 1}, {"image": cell(png(0)), "text": "", "x": 1}]
    folder = parquet(rows)
    assert sha256s(opened(folder, "image=image,label=x,unsafe=1")) == [
        hashlib.sha256(png(0)).hexdigest()
    ]
    with pytest.raises(
        LayoutError, match="no picture can be used: left out because they can't be decoded: 2"
    ):
        opened(folder, "image=text,label=x,unsafe=1")


def test_classes_go_by_name(parquet: Parquet, png: Png, opened: Open) -> None:
    from datasets import ClassLabel, Image

    rows = [{"image": cell(png(number)), "kind": number % 3} for number in range(6)]
    names = ClassLabel(names=["neutral", "sexy", "porn"])
    folder = parquet(rows, image=Image(), kind=names)
    images = opened(folder, "label=kind,unsafe=porn,safe=neutral,concept=kind")
    assert [(one.label, one.concept) for one in images.examples] == [
        ("Safe", "neutral"),
        ("Unsafe", ""),
    ] * 2
    assert images.notes == (
        "left out for want of a label: 2",
        "unsafe, of a concept outside the taxonomy, taken as unknown: 2 (porn)",
    )


def test_what_cant_be_decoded_is_left_out_and_said(
    parquet: Parquet, png: Png, opened: Open
) -> None:
    rows = [
        {"image": cell(png(0)), "x": 1},
        {"image": cell(png(1)[:-30]), "x": 1},
        {"image": None, "x": 0},
    ]
    images = opened(parquet(rows), "label=x,unsafe=1")
    assert len(images.examples) == 1
    assert images.notes == ("left out because they can't be decoded: 2",)
    left_out = json.loads((images.folder / "import.json").read_text())["left_out"]
    assert left_out == {"train/1": "the PNG file is cut short", "train/2": "holds nothing"}


def test_one_picture_under_two_concepts_is_two_examples(
    parquet: Parquet, png: Png, opened: Open
) -> None:
    rows = [
        {"image": cell(png(0)), "category": category, "unsafe_concept": concept}
        for category, concept in (("Hate", "Swastika"), ("Violence", "Torture"))
    ]
    first, second = opened(parquet(rows)).examples
    assert (second.id, second.file) == (f"{first.id}-2", first.file)
    assert first.group == second.group


def test_groups_of_the_source_are_kept(parquet: Parquet, png: Png, opened: Open) -> None:
    rows = [{"image": cell(png(number)), "x": 1, "scene": number // 2} for number in range(4)]
    images = opened(parquet(rows), "label=x,unsafe=1,group=scene")
    assert [one.group for one in images.examples] == ["0", "0", "1", "1"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("label=y,unsafe=1", "no column 'y'; it has image, x"),
        ("image=img,all=safe", "no column 'img'; it has image, x"),
        ("label=x,unsafe=nsfw", "no row has x='nsfw'; there are 1"),
        ("label=x,unsafe=1|2", "no row has x='2'; there are 1"),
        ("all=safe,config=large", "can't be read as a table of pictures"),
    ],
)
def test_columns_that_dont_fit_are_named(
    parquet: Parquet, png: Png, opened: Open, text: str, problem: str, tmp_path: Path
) -> None:
    folder = parquet([{"image": cell(png(0)), "x": 1}])
    with pytest.raises(LayoutError) as caught:
        opened(folder, text)
    assert str(caught.value).startswith(f"{folder}: ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not [*(tmp_path / "cache" / "data").glob("[!.]*"), *tmp_path.rglob("*.partial")]


def test_an_unknown_layout_asks_for_columns(parquet: Parquet, png: Png, opened: Open) -> None:
    folder = parquet([{"picture": cell(png(0)), "nsfw": 1}])
    with pytest.raises(UnnamedColumnsError, match=r"\(it has nsfw, picture\); name its columns"):
        opened(folder)


@pytest.mark.parametrize("content", [None, b"no parquet"])
def test_a_folder_without_a_table_is_refused(
    opened: Open, tmp_path: Path, content: bytes | None, table_reader: None
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    if content:
        (folder / "train.parquet").write_bytes(content)
    with pytest.raises(LayoutError, match="can't be read as a table of pictures") as caught:
        opened(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["nowhere", "./no/folder/here", "a/b/c", "/no/such", "", "+"])
def test_what_is_neither_folder_nor_id(
    opened: Open, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownSourceError, match="no folder here, and no hub id"):
        opened(spec)


def test_two_sets_joined(unsafe_concepts: Path, parquet: Parquet, png: Png, opened: Open) -> None:
    rows = [{"image": cell(png(100 + n)), "concept": f"class {n}"} for n in range(20)]
    safe = parquet(rows, "imagenet")
    images = opened(f"{unsafe_concepts}+{safe}")
    assert images.name == "UnsafeConcepts+imagenet"
    assert [one.unsafe for one in images.examples] == [True] * 8 + [False] * 8
    with pytest.raises(LayoutError, match="can't be said of two sets at once"):
        opened(f"{unsafe_concepts}+{safe}", split="train")
