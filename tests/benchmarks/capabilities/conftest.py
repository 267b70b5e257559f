"""A small labelled folder and tasks about it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from alignment.data.manifest import ImageSet, read_image_set
from benchmarks.capabilities.tasks import Mode, Subject, Task

EXAMPLES = (
    ("gun", "Unsafe", "Gun violence", "Violence", "g1"),
    ("gun-again", "Unsafe", "Gun violence", "Violence", "g1"),
    ("fire", "Unsafe", "Arson", "Illegal activity", ""),
    ("unnamed", "Unsafe", "", "", ""),
    ("cat", "Safe", "cat", "Safe", ""),
    ("cup", "Safe", "tea cup", "Safe", ""),
)


def write_image_set(folder: Path) -> Path:
    """Six plain pictures: three unsafe ones with a concept, one without, two safe ones."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for shade, (name, label, concept, category, group) in enumerate(EXAMPLES):
        file = f"images/{name}.png"
        Image.new("RGB", (16, 16), (shade * 40, 0, 99)).save(folder / file)
        lines.append(
            json.dumps(
                {
                    "id": name,
                    "file": file,
                    "label": label,
                    "concept": concept,
                    "category": category,
                    "split": "test",
                    "group": group,
                }
            )
        )
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def write_set() -> Callable[[Path], Path]:
    return write_image_set


@pytest.fixture
def image_set(tmp_path: Path) -> ImageSet:
    return read_image_set(write_image_set(tmp_path / "set"))


@pytest.fixture
def task() -> Callable[..., Task]:
    """Makes a judged task; every field can be given another value."""

    def make(
        name: str = "cat", mode: Mode = "token", question: str = "fit", **fields: object
    ) -> Task:
        parts: dict[str, object] = {
            "id": f"alignment/{mode}/words/{name}/{question}",
            "suite": "alignment",
            "mode": mode,
            "modality": "words",
            "kind": "judged",
            "subject": Subject(name, f"example {name}", "", "Safe", False),
            "question": question,
            "prompt": f"Is {name} {question}?",
            "right": "safe",
            "options": ("yes", "no"),
            "unsafe_answer": "no",
        }
        return Task(**{**parts, **fields})  # type: ignore[arg-type]

    return make
