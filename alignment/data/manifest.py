"""A folder of images with a `manifest.jsonl`: one JSON object a line, one image a line.

Required fields: ``id``, ``file`` (relative to the folder), ``label`` (``Safe`` or ``Unsafe``) and
``concept``, which may be empty where it is unknown, as in data sets that have no concepts.
Optional: ``category`` (one of the nine, ``Safe``, or empty: filled in where label or concept imply
it), ``split`` (``train`` or ``test``; on every line or on none, and `splits` makes them where there
are none), ``caption``, ``style`` (what kind of picture), ``proxy`` (how strongly the picture shows
its concept), ``group`` (near-duplicates share one), ``source``, ``license``. Unknown fields are
ignored, so a manifest can carry more than this product reads.

Every other source is imported into such a folder (`sources`), so nothing else is read downstream.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from alignment.data.errors import ManifestError, PictureFileError
from server.concepts.taxonomy import load_taxonomy
from server.errors import ImageError, UnknownConceptError
from server.ingest.decode import ImageDecoder
from server.ingest.limits import ImageLimits

__all__ = ["MANIFEST_NAME", "Example", "ImageSet", "ManifestError", "read_image_set"]

MANIFEST_NAME = "manifest.jsonl"
SAFE = "Safe"
"""The category of every safe image."""


class Example(BaseModel):
    """One labelled image. `file` stays relative to the data set's folder.

    An unsafe example's `concept` and `category` are names of the taxonomy, or empty for unknown; a
    safe one's `concept` is any name, its `category` is ``Safe``. `split` is None as long as nobody
    has split the set.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    # The content hash is taken over the fields in this order: keep it, or every hash changes.
    id: str
    file: str
    label: Literal["Safe", "Unsafe"]
    concept: str
    category: str = ""
    split: Literal["train", "validation", "test"] | None = None
    caption: str = ""
    style: str = "photo"
    proxy: str = ""
    group: str = ""
    source: str = ""
    license: str = ""

    @field_validator("file")
    @classmethod
    def _stays_in_the_folder(cls, file: str) -> str:
        path = PurePosixPath(file)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in file:
            raise ValueError(f"{file!r} is no path inside the folder")
        return file

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_category(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or fields.get("category"):
            return fields
        if fields.get("label") == SAFE:
            return fields | {"category": SAFE}
        concept = fields.get("concept")
        if isinstance(concept, str) and concept in load_taxonomy().concept_names:
            return fields | {"category": load_taxonomy().category_of(concept)}
        return fields

    @model_validator(mode="after")
    def _names_are_in_the_taxonomy(self) -> Self:
        taxonomy = load_taxonomy()
        if self.label == SAFE:
            if self.category != SAFE:
                raise ValueError(f"a safe image is of category {SAFE!r}, not {self.category!r}")
            return self
        if self.category and self.category not in taxonomy.category_names:
            # The concept is looked at first where both are wrong: it is the finer name.
            self._check_concept()
            raise ValueError(f"unknown category {self.category!r}")
        self._check_concept()
        return self

    def _check_concept(self) -> None:
        if not self.concept:
            return
        try:
            expected = load_taxonomy().category_of(self.concept)
        except UnknownConceptError as error:
            raise ValueError(str(error)) from error
        if expected != self.category:
            raise ValueError(f"concept {self.concept!r} is of {expected!r}, not {self.category!r}")

    @property
    def unsafe(self) -> bool:
        """Whether the image is labelled unsafe."""
        return self.label == "Unsafe"


@dataclass(frozen=True, slots=True)
class ImageSet:
    """A labelled image folder: where it lies, what it holds and the hash of its contents.

    `sha256` covers labels and image bytes; it is the same wherever the folder lies and in whatever
    order the manifest lists the images. `name` is for people and records. `image_sha256` maps an
    example's id to the hash of its file. `folders` says, by id, which examples of a union lie in
    another folder. `notes` say what an import had to leave out or could not know, for whoever reads
    the figures.
    """

    folder: Path
    examples: tuple[Example, ...]
    sha256: str
    name: str = ""
    notes: tuple[str, ...] = ()
    image_sha256: Mapping[str, str] = field(default_factory=dict, repr=False)
    folders: Mapping[str, Path] = field(default_factory=dict, repr=False)

    def folder_of(self, example: Example) -> Path:
        """The folder of the example's own set: another than `folder` in a union of sets."""
        return self.folders.get(example.id, self.folder)

    def path_of(self, example: Example) -> Path:
        """Where the example's image lies."""
        return self.folder_of(example) / example.file

    def open(self, example: Example) -> Image.Image:
        """Decode the example's image, upright, opaque and RGB.

        It goes through the decoder that the service uses, with its limits: a picture that could
        not be moderated is not measured either. Raises `PictureFileError` naming the file.
        """
        path = self.path_of(example)
        try:
            return _decoder().decode(path.read_bytes()).image
        except ImageError as error:
            raise PictureFileError(path, str(error) or "holds nothing") from error
        except OSError as error:
            raise PictureFileError(path, error.strerror or "can't be read") from error

    @property
    def is_split(self) -> bool:
        """Whether every example is of some split (else none is)."""
        return all(example.split is not None for example in self.examples)

    def split(self, name: str) -> tuple[Example, ...]:
        """The examples of one split, in the manifest's order; none where the set has no splits."""
        return tuple(example for example in self.examples if example.split == name)

    def held_out(self) -> tuple[Example, ...]:
        """What may be measured: the test split, or everything where the set has no splits."""
        return self.split("test") if self.is_split else self.examples

    def with_examples(self, examples: Iterable[Example]) -> "ImageSet":
        """The same folder with other examples (other splits or groups, or fewer), hashed anew."""
        chosen = tuple(examples)
        kept = {example.id: self.image_sha256[example.id] for example in chosen}
        return replace(self, examples=chosen, sha256=_content_hash(chosen, kept), image_sha256=kept)


def read_image_set(folder: Path, *, name: str = "", notes: tuple[str, ...] = ()) -> ImageSet:
    """Read and check a manifest. Raises ManifestError on the first line that can't be used.

    `name` defaults to the folder's own.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise ManifestError(path, 0, "no such file")
    examples: list[Example] = []
    seen: set[str] = set()
    split_of: dict[str, str | None] = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                example = Example.model_validate_json(line)
            except ValidationError as error:
                raise ManifestError(path, number, _reason(error)) from error
            if example.id in seen:
                raise ManifestError(path, number, f"id {example.id!r} stands twice")
            if not (folder / example.file).is_file():
                raise ManifestError(path, number, f"image {example.file!r} is missing")
            if examples and (example.split is None) != (examples[0].split is None):
                raise ManifestError(path, number, "split is given on some lines and not on others")
            # Near-duplicates on both sides of the split would make every test figure a lie.
            if example.group and split_of.setdefault(example.group, example.split) != example.split:
                raise ManifestError(path, number, f"group {example.group!r} is in both splits")
            seen.add(example.id)
            examples.append(example)
    if not examples:
        raise ManifestError(path, 0, "holds no image")
    hashes = {example.id: _file_hash(folder / example.file) for example in examples}
    return ImageSet(
        folder=folder,
        examples=tuple(examples),
        sha256=_content_hash(examples, hashes),
        name=name or folder.resolve().name,
        notes=notes,
        image_sha256=hashes,
    )


def _reason(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _content_hash(examples: Iterable[Example], image_sha256: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for example in sorted(examples, key=lambda one: one.id):
        digest.update(example.model_dump_json().encode())
        digest.update(bytes.fromhex(image_sha256[example.id]))
    return digest.hexdigest()


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _decoder() -> ImageDecoder:
    """One for all sets: it holds nothing but its limits and the known formats."""
    return ImageDecoder(ImageLimits())
