"""A small labelled folder of drawn pictures, made on the spot."""

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

if TYPE_CHECKING:
    from alignment.data.manifest import ImageSet

KINDS = (
    ("Swastika", "Hate", "Unsafe", "an icon of a hooked cross"),
    ("Arson", "Illegal activity", "Unsafe", "a photo of a fire"),
    ("apple", "Safe", "Safe", "a photo of an apple"),
    ("boat", "Safe", "Safe", "an icon of a boat"),
    ("chair", "Safe", "Safe", "a photo of a chair"),
    ("door", "Safe", "Safe", "a photo of a door"),
)


def example_line(number: int, kind: tuple[str, str, str, str], split: str) -> dict[str, str]:
    concept, category, label, caption = kind
    style = "icon" if "icon" in caption else "photo"
    fields = {"concept": concept, "category": category, "label": label, "caption": caption}
    return {"id": f"p{number}", "file": f"{number}.png", "style": style, "split": split, **fields}


@pytest.fixture
def labelled_folder(tmp_path: Path) -> Path:
    """Twelve pictures of six kinds: ten to train on, two to test on."""
    folder = tmp_path / "data"
    folder.mkdir()
    dice = random.Random(0)
    lines = []
    for number in range(12):
        split = "train" if number < 10 else "test"
        lines.append(example_line(number, KINDS[number % len(KINDS)], split))
        blocks = Image.new("RGB", (4, 4))
        blocks.putdata([tuple(dice.randrange(256) for _ in range(3)) for _ in range(16)])
        blocks.resize((64, 48), Image.Resampling.NEAREST).save(folder / f"{number}.png")
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def images(labelled_folder: Path) -> "ImageSet":
    """The folder, read."""
    from alignment.data.manifest import read_image_set

    return read_image_set(labelled_folder)
