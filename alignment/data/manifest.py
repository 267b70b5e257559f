"""A folder of images with a `manifest.jsonl`: one JSON object a line, one image a line.

Required fields: ``id``, ``file`` (relative to the folder), ``label`` (``Safe`` or ``Unsafe``),
``concept``, ``category`` (one of the nine, or ``Safe``) and ``split`` (``train`` or ``test``).
Optional: ``caption``, ``style`` (what kind of picture), ``proxy`` (how strongly the picture shows
its concept), ``group`` (near-duplicates share one), ``source``, ``license``. Unknown fields are
ignored, so a manifest can carry more than this product reads.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from server.concepts.taxonomy import load_taxonomy
from server.errors import SightwardError, UnknownConceptError

MANIFEST_NAME = "manifest.jsonl"


class ManifestError(SightwardError):
    """A manifest that can't be used; says which line and why."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        super().__init__(f"{path}:{line}: {reason}")
        self.path = path
        self.line = line
        self.reason = reason


class Example(BaseModel):
    """One labelled image. `file` stays relative to the data set's folder."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    file: str
    label: Literal["Safe", "Unsafe"]
    concept: str
    category: str
    split: Literal["train", "test"]
    caption: str = ""
    style: str = "photo"
    proxy: str = ""
    group: str = ""
    source: str = ""
    license: str = ""

    @model_validator(mode="after")
    def _unsafe_is_in_the_taxonomy(self) -> "Example":
        if self.label == "Unsafe":
            try:
                expected = load_taxonomy().category_of(self.concept)
            except UnknownConceptError as error:
                raise ValueError(str(error)) from error
            if expected != self.category:
                raise ValueError(
                    f"concept {self.concept!r} is of {expected!r}, not {self.category!r}"
                )
        return self

    @property
    def unsafe(self) -> bool:
        """Whether the image is labelled unsafe."""
        return self.label == "Unsafe"


@dataclass(frozen=True, slots=True)
class ImageSet:
    """A labelled image folder: where it lies, what it holds and the hash of its contents."""

    folder: Path
    examples: tuple[Example, ...]
    sha256: str

    def path_of(self, example: Example) -> Path:
        """Where the example's image lies."""
        return self.folder / example.file

    def split(self, name: str) -> tuple[Example, ...]:
        """The examples of one split, in the manifest's order."""
        return tuple(example for example in self.examples if example.split == name)


def read_image_set(folder: Path) -> ImageSet:
    """Read and check a manifest. Raises ManifestError on the first line that can't be used."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise ManifestError(path, 0, "no such file")
    examples: list[Example] = []
    seen: set[str] = set()
    split_of: dict[str, str] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                example = Example.model_validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"])
                raise ManifestError(path, number, f"{where}: {first['msg']}") from error
            if example.id in seen:
                raise ManifestError(path, number, f"id {example.id!r} stands twice")
            if not (folder / example.file).is_file():
                raise ManifestError(path, number, f"image {example.file!r} is missing")
            # Near-duplicates on both sides of the split would make every test figure a lie.
            if example.group and split_of.setdefault(example.group, example.split) != example.split:
                raise ManifestError(path, number, f"group {example.group!r} is in both splits")
            seen.add(example.id)
            examples.append(example)
    if not examples:
        raise ManifestError(path, 0, "holds no image")
    return ImageSet(folder, tuple(examples), _content_hash(folder, examples))


def _content_hash(folder: Path, examples: Iterable[Example]) -> str:
    digest = hashlib.sha256()
    for example in sorted(examples, key=lambda one: one.id):
        digest.update(example.model_dump_json().encode())
        digest.update(hashlib.sha256((folder / example.file).read_bytes()).digest())
    return digest.hexdigest()
