"""Several sets as one."""

from pathlib import Path

import pytest
from PIL import Image

from alignment.data.manifest import Example, ImageSet, read_image_set
from alignment.data.union import SameIdError, union


def image_set(folder: Path, prefix: str, level: int) -> ImageSet:
    folder.mkdir()
    lines = []
    for number, split in enumerate(("train", "train", "test")):
        Image.new("RGB", (8, 8), (level, number, 0)).save(folder / f"{number}.png")
        lines.append(
            Example(
                id=f"{prefix}{number}",
                file=f"{number}.png",
                label="Safe",
                concept="apple",
                split=split,
                group="g" if number else "",
            ).model_dump_json()
        )
    (folder / "manifest.jsonl").write_text("\n".join(lines).replace('"g"', f'"g{level}"', 1))
    return read_image_set(folder, name=prefix)


def test_pictures_stay_where_they_lie_and_splits_as_they_were(tmp_path: Path) -> None:
    one, two = image_set(tmp_path / "one", "a", 10), image_set(tmp_path / "two", "b", 20)
    both = union(one, two)
    assert both.name == "a+b"
    assert [example.id for example in both.split("train")] == ["a0", "a1", "b0", "b1"]
    reds = [both.open(example).getpixel((0, 0)) for example in both.split("test")]
    assert reds == [(10, 2, 0), (20, 2, 0)]
    groups = [example.group for example in both.examples]
    assert groups == ["", "g10", "g", "", "b:g20", "b:g"]
    assert both.sha256 not in {one.sha256, two.sha256}
    assert both.with_examples(both.split("test")).open(both.examples[5]).size == (8, 8)


def test_an_id_in_two_sets_is_refused(tmp_path: Path) -> None:
    one, two = image_set(tmp_path / "one", "a", 10), image_set(tmp_path / "two", "a", 20)
    with pytest.raises(SameIdError, match="'a0' stands in both a and a"):
        union(one, two)
