"""A small labelled folder of drawn pictures, made on the spot."""

import copy
import importlib.util
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

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


def fill_folder(folder: Path) -> Path:
    """Twelve pictures of six kinds: ten to train on, two to test on."""
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
def labelled_folder(tmp_path: Path) -> Path:
    """A folder with a manifest and its pictures."""
    return fill_folder(tmp_path / "data")


@pytest.fixture(scope="session")
def make_images() -> "Callable[[Path], ImageSet]":
    """Fills a new folder like `labelled_folder`'s and reads it."""
    from alignment.data.manifest import read_image_set

    return lambda folder: read_image_set(fill_folder(folder))


@pytest.fixture
def images(labelled_folder: Path) -> "ImageSet":
    """The folder, read."""
    from alignment.data.manifest import read_image_set

    return read_image_set(labelled_folder)


@pytest.fixture(scope="session")
def tiny_vlms() -> Any:
    """The makers of `tiny_vlms.py` beside this file."""
    name = "tiny_vlms"
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make_base(
    tiny_vlms: Any,
    smollm2_tokenizer: "PreTrainedTokenizerFast",
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Any]:
    """``make_base(family, **options)``: a copy of a tiny model, always the same."""
    import torch

    from alignment.policy_base import PolicyBase, base_of

    made: dict[str, PolicyBase] = {}

    def make(family: str, **options: Any) -> PolicyBase:
        key = f"{family} {options}"
        if key not in made:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                maker = tiny_vlms.MAKERS[family]
                made[key] = maker(smollm2_tokenizer, tmp_path_factory.mktemp(family), **options)
        base = made[key]
        return base_of(copy.deepcopy(base.model), base.processor, name=base.name)

    return make


@pytest.fixture(scope="session")
def make_small_llava(
    tiny_vlms: Any,
    smollm2_tokenizer: "PreTrainedTokenizerFast",
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[], Any]:
    """A copy of a tiny LLaVA of few words, always the same: for whole training runs."""
    import torch

    from alignment.policy_base import base_of

    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = tiny_vlms.shortened(smollm2_tokenizer)
        made = tiny_vlms.make_llava(tokenizer, tmp_path_factory.mktemp("small"))
    return lambda: base_of(copy.deepcopy(made.model), made.processor, name=made.name)


@pytest.fixture(scope="session")
def block_pictures(tiny_vlms: Any) -> Callable[[str, int], Image.Image]:
    """Gives views of pictures called p0, p1, ..., of two shapes."""

    def read(example_id: str, view: int) -> Image.Image:
        number = int(example_id.removeprefix("p"))
        size = (80, 60) if number % 2 else (60, 110)
        shown: Image.Image = tiny_vlms.picture(10 * number + view, size)
        return shown

    return read
