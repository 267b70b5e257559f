"""MM-Vet: 218 open questions that each need several of six capabilities (arXiv 2308.02490).

Layouts read:

- *files*: ``mm-vet.json``, an object of ``id: {imagename, question, answer, capability: [...]}``,
  beside ``images``;
- *table*: Parquet with ``image``, ``question``, ``answer`` and ``capability`` (a list, or names
  between commas).

In a reference ``<AND>`` joins parts that must all be there and ``<OR>`` answers that are equally
right. A sub-task is the combination of capabilities, as in the benchmark's own breakdown.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from PIL import Image

from benchmarks.capabilities.general.items import Item, plain_subject
from benchmarks.capabilities.general.json_files import read_object, text_field
from benchmarks.capabilities.general.pictures import open_cell, open_file
from benchmarks.capabilities.general.sources import Source

NAME = "mm-vet"
TITLE = "MM-Vet"
CAPABILITIES = frozenset({"rec", "ocr", "know", "gen", "spat", "math"})

_FILE = "mm-vet.json"
_COLUMNS = ("image", "question", "answer", "capability")


def read_mm_vet(source: Source) -> list[Item]:
    """Every question; raises `MeasurementError` for a folder that is no MM-Vet."""
    items = list(_from_table(source) if source.tables("test") else _from_files(source))
    if not items:
        raise source.error("it has no questions")
    return items


def _from_files(source: Source) -> Iterator[Item]:
    folder = source.folder
    # The release unpacks into a folder of its own.
    if not (folder / _FILE).is_file() and (folder / NAME / _FILE).is_file():
        folder = folder / NAME
    for name, fields in read_object(source, folder / _FILE).items():
        if not isinstance(fields, dict):
            raise source.error(f"{_FILE}: {name} is no object")
        picture = folder / "images" / text_field(source, fields, "imagename", name)
        if not picture.is_file():
            raise source.error(f"{name} names images/{picture.name}, which is not there")
        yield _item(source, name, fields, partial(open_file, picture))


def _from_table(source: Source) -> Iterator[Item]:
    rows = source.rows("test", _COLUMNS)
    for index, row in enumerate(rows.remove_columns("image")):
        opened = partial(open_cell, rows, index, "image", f"{source.where}, row {index}")
        yield _item(source, f"row {index}", row, opened)


def _item(source: Source, name: str, fields: Any, open_image: Callable[[], Image.Image]) -> Item:
    needed = fields.get("capability")
    names = needed.split(",") if isinstance(needed, str) else needed
    if not isinstance(names, list) or not names:
        raise source.error(f"{name} has no 'capability'")
    capabilities = sorted(str(capability).strip() for capability in names)
    unknown = [capability for capability in capabilities if capability not in CAPABILITIES]
    if unknown:
        raise source.error(f"{name} needs {unknown[0]!r}, which is none of its six capabilities")
    return Item(
        benchmark=NAME,
        subtask="+".join(capabilities),
        subject=plain_subject(f"{NAME}:{name}"),
        question="q1",
        kind="open",
        prompt=text_field(source, fields, "question", name).strip(),
        right=text_field(source, fields, "answer", name).strip(),
        open_image=open_image,
    )
