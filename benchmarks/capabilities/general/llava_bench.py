"""LLaVA-Bench (In-the-Wild): 60 open questions about 24 pictures (arXiv 2304.08485).

Layouts read:

- *files*: ``questions.jsonl`` (``question_id``, ``image``, ``category``, ``text``),
  ``context.jsonl`` (``image``, ``caption``), ``answers_gpt4.jsonl`` (``question_id``, ``text``)
  and ``images``;
- *table*: Parquet with ``question_id``, ``question``, ``image``, ``caption``, ``gpt_answer``,
  ``category`` and ``image_id``.

The reference is the answer that GPT-4 wrote from the caption; a judge is shown that caption instead
of the picture. The benchmark has the reference and the answer graded from 1 to 10, sums each over
all questions and divides. So do we, but question by question and with 1 as the most, since a score
here lies in [0, 1]: the mean of ratios is no ratio of means, and differs from it by a few percent.
"""

from collections.abc import Callable, Iterator
from functools import partial

from PIL import Image

from benchmarks.capabilities.general.items import Item, plain_subject
from benchmarks.capabilities.general.json_files import Fields, read_lines, text_field
from benchmarks.capabilities.general.pictures import open_cell, open_file
from benchmarks.capabilities.general.sources import Source

NAME = "llava-bench"
TITLE = "LLaVA-Bench (In-the-Wild)"
CATEGORIES = frozenset({"conv", "detail", "complex"})
MAX_SCORE = 10.0

_COLUMNS = (*("question_id", "question", "image", "caption", "gpt_answer", "category", "image_id"),)


def read_llava_bench(source: Source) -> list[Item]:
    """Every question; raises `MeasurementError` for a folder that is no LLaVA-Bench."""
    items = list(_from_table(source) if source.tables("train") else _from_files(source))
    if not items:
        raise source.error("it has no questions")
    return items


def _from_files(source: Source) -> Iterator[Item]:
    folder = source.folder
    captions = {
        fields.get("image"): text_field(source, fields, "caption", "a line of context.jsonl")
        for fields in read_lines(source, folder / "context.jsonl")
    }
    references = {
        fields.get("question_id"): text_field(
            source, fields, "text", "a line of answers_gpt4.jsonl"
        )
        for fields in read_lines(source, folder / "answers_gpt4.jsonl")
    }
    for fields in read_lines(source, folder / "questions.jsonl"):
        number = text_field(source, fields, "question_id", "a line of questions.jsonl")
        place = f"question {number}"
        name = text_field(source, fields, "image", place)
        picture = folder / "images" / name
        if not picture.is_file():
            raise source.error(f"{place} names images/{name}, which is not there")
        if name not in captions:
            raise source.error(f"{place} is about {name}, of which context.jsonl says nothing")
        if fields["question_id"] not in references:
            raise source.error(f"{place} has no answer in answers_gpt4.jsonl")
        row = {
            "question_id": number,
            "image_id": name.rpartition(".")[0],
            "question": text_field(source, fields, "text", place),
            "category": text_field(source, fields, "category", place),
            "caption": captions[name],
            "gpt_answer": references[fields["question_id"]],
        }
        yield _item(source, row, partial(open_file, picture))


def _from_table(source: Source) -> Iterator[Item]:
    rows = source.rows("train", _COLUMNS)
    for index, row in enumerate(rows.remove_columns("image")):
        opened = partial(open_cell, rows, index, "image", f"{source.where}, row {index}")
        yield _item(source, row, opened)


def _item(source: Source, row: Fields, open_image: Callable[[], Image.Image]) -> Item:
    place = f"question {text_field(source, row, 'question_id', 'a row')}"
    category = text_field(source, row, "category", place)
    if category not in CATEGORIES:
        raise source.error(f"{place} is of the category {category!r}, not of its three")
    image_id = text_field(source, row, "image_id", place)
    return Item(
        benchmark=NAME,
        subtask=category,
        subject=plain_subject(f"{NAME}:{image_id}"),
        question=f"q{row['question_id']}",
        kind="open",
        prompt=text_field(source, row, "question", place).strip(),
        right=text_field(source, row, "gpt_answer", place).strip(),
        open_image=open_image,
        max_score=MAX_SCORE,
        context=text_field(source, row, "caption", place).strip(),
    )
