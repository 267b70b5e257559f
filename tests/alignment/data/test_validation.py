"""What is held back to tune on: from the train split alone, near-duplicates together."""

from pathlib import Path

import pytest
from PIL import Image

from alignment.data.manifest import Example, ImageSet, read_image_set
from alignment.data.validation import NothingToHoldBackError, with_validation


def image_set(folder: Path, *, split: str | None = "train") -> ImageSet:
    lines = []
    for number in range(60):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
        unsafe = number % 2 == 0
        lines.append(
            Example(
                id=f"p{number}",
                file=f"{number}.png",
                label="Unsafe" if unsafe else "Safe",
                concept=("Arson" if number % 4 == 0 else "Torture") if unsafe else "apple",
                split="test" if split and number >= 50 else split,
                group=f"g{number // 6}-{number % 2}" if number < 48 else "",
            ).model_dump_json()
        )
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    return read_image_set(folder)


def test_it_is_cut_from_the_train_split_alone_with_groups_kept_together(tmp_path: Path) -> None:
    images = image_set(tmp_path)
    carved = with_validation(images, share=0.3)
    kept, held = carved.split("train"), carved.split("validation")
    assert {one.id for one in kept} | {one.id for one in held} == {
        one.id for one in images.split("train")
    }
    assert carved.split("test") == images.split("test")
    assert 8 <= len(held) <= 22
    assert not {one.group for one in kept if one.group} & {one.group for one in held if one.group}
    assert {one.concept for one in held} == {"Arson", "Torture", "apple"}


def test_it_is_the_same_each_time_and_another_for_another_seed(tmp_path: Path) -> None:
    images = image_set(tmp_path)
    first = with_validation(images).split("validation")
    assert with_validation(images).split("validation") == first
    assert with_validation(images, seed=1).split("validation") != first


def test_a_set_that_has_one_keeps_it(tmp_path: Path) -> None:
    carved = with_validation(image_set(tmp_path))
    assert with_validation(carved, seed=1) is carved


def test_a_set_without_train_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NothingToHoldBackError, match="no train split"):
        with_validation(image_set(tmp_path, split=None))
