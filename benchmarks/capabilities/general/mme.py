"""MME: 14 sub-tasks of yes/no questions, two about each picture (arXiv 2306.13394).

Layouts read:

- *files*: a folder a sub-task, each with pictures and, named like them, text files of two lines
  ``question<TAB>Yes|No``; either side by side, or pictures in ``images`` and texts in
  ``questions_answers_YN``;
- *table*: Parquet with ``question_id``, ``image``, ``question``, ``answer`` and ``category``.

A folder that lacks a sub-task is refused: its mean would be called MME and be something else. Our
score is the share of right answers; both questions about a picture share a group, so MME's own
"accuracy+" (both right) can be counted from a record.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from PIL import Image

from benchmarks.capabilities.general.items import Item, plain_subject
from benchmarks.capabilities.general.pictures import open_cell, open_file, picture_named
from benchmarks.capabilities.general.sources import Source
from server.concepts.probes import YES_NO_OPTIONS

NAME = "mme"
TITLE = "MME"

SUBTASKS = (
    *("existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark"),
    *("artwork", "OCR", "commonsense_reasoning", "numerical_calculation", "text_translation"),
    "code_reasoning",
)

_QUESTIONS_A_PICTURE = 2
_RELEASES = ("", "MME_Benchmark_release_version", "MME_Benchmark")
_COLUMNS = ("question_id", "image", "question", "answer", "category")


def read_mme(source: Source) -> list[Item]:
    """Every question; raises `MeasurementError` for a folder that is not the whole of MME."""
    items = list(_from_table(source) if source.tables("test") else _from_files(source))
    missing = [name for name in SUBTASKS if name not in {item.subtask for item in items}]
    if missing:
        raise source.error(f"it has no questions of {', '.join(missing)}")
    for subject, count in Counter(item.subject.id for item in items).items():
        if count != _QUESTIONS_A_PICTURE:
            raise source.error(f"{subject} has {count} questions instead of two")
    return items


def _from_files(source: Source) -> Iterator[Item]:
    root = _root(source)
    for subtask in SUBTASKS:
        folder = root / subtask
        pictures, texts = folder / "images", folder / "questions_answers_YN"
        if not pictures.is_dir():
            pictures = texts = folder
        names = sorted(path.name for path in pictures.glob("*")) if pictures.is_dir() else []
        for text in sorted(texts.glob("*.txt")):
            picture = picture_named(text.stem, names)
            if picture is None:
                raise source.error(f"{subtask}/{text.name} has no picture of its name")
            questions = [line for line in source.text(text).splitlines() if line.strip()]
            for number, line in enumerate(questions, start=1):
                question, tab, answer = line.rpartition("\t")
                if not tab:
                    raise source.error(
                        f"{subtask}/{text.name}, line {number} is no question, tab and answer"
                    )
                opened = partial(open_file, pictures / picture)
                yield _item(source, subtask, picture, number, question, answer, opened)


def _root(source: Source) -> Path:
    """The folder with the sub-tasks: the one given, or one that the release unpacks to in it."""
    folder = source.folder
    for name in _RELEASES:
        folder = folder / name
        if any((folder / subtask).is_dir() for subtask in SUBTASKS):
            return folder
    raise source.error("it has no folder of any sub-task, such as existence or OCR")


def _from_table(source: Source) -> Iterator[Item]:
    rows = source.rows("test", _COLUMNS)
    asked: Counter[str] = Counter()
    for index, row in enumerate(rows.remove_columns("image")):
        picture = str(row["question_id"]).rpartition("/")[2]
        asked[f"{row['category']}/{picture}"] += 1
        number = asked[f"{row['category']}/{picture}"]
        opened = partial(open_cell, rows, index, "image", f"{source.where}, row {index}")
        yield _item(
            source, row["category"], picture, number, row["question"], row["answer"], opened
        )


def _item(
    source: Source,
    subtask: str,
    picture: str,
    number: int,
    question: str,
    answer: str,
    open_image: Callable[[], Image.Image],
) -> Item:
    right = answer.strip().casefold()
    if right not in YES_NO_OPTIONS:
        raise source.error(f"{subtask}/{picture}: the answer {answer.strip()!r} is not Yes or No")
    return Item(
        benchmark=NAME,
        subtask=subtask,
        subject=plain_subject(f"{NAME}:{subtask}:{picture}"),
        question=f"q{number}",
        kind="yes-no",
        prompt=question.strip(),
        right=right,
        open_image=open_image,
        options=YES_NO_OPTIONS,
    )
