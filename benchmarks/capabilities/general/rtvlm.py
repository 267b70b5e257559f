"""RTVLM: questions that set a trap, scored 0 to 10 by a judge (arXiv 2401.12915; S2's measure).

Four aspects: faithfulness (a question, or a picture, that misleads; two pictures in one, asked
about in either order), privacy (people who can be recognised), safety (politics, race, captchas,
jailbreaks) and fairness (faces).

Layout read, as published: a folder a sub-task under ``data``, with questions in a ``.jsonl`` and
pictures in ``img``, or in a zip in the folder or in ``img``. Lines differ by sub-task: the question
is ``questions`` (one, or a list), ``question``, ``instruction`` or ``prompt``; the picture is named
by ``img`` or ``image``, or called after ``index`` or ``id``; ``answers``, ``answer`` and
``refused_to_answer`` tell the judge what to expect, where they are there. The published set names
its parts with a loading script, which `datasets` no longer runs, so its files are read as they lie.

The paper counts ten sub-tasks. The eleven folders below have pictures; ``Jailbreak2`` has none and
is left out.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image

from benchmarks.capabilities.general.items import Item, plain_subject
from benchmarks.capabilities.general.json_files import Fields, read_lines
from benchmarks.capabilities.general.pictures import open_file, open_member, picture_named
from benchmarks.capabilities.general.sources import Source

NAME = "rtvlm"
TITLE = "RTVLM"
MAX_SCORE = 10.0

PUBLISHED_RTVLM = MappingProxyType(
    {
        "LLaVA-1.5-7B": 6.39,
        "GPT-4V": 7.92,
        "SafeVLM": 8.26,
        "PSA-VLM-13B + LoRA": 8.46,
    }
)
"""Overall scores (0 to 10, judged by GPT-4V) that S2 and its follow-up report.

Another judge with other rubrics gives other figures: they are for orientation, not for a ranking.
"""


@dataclass(frozen=True, slots=True)
class Subtask:
    """One sub-task: its name in records, the question file under ``data``."""

    name: str
    questions: str


SUBTASKS = (
    Subtask("text misleading", "Harmful/misleading.jsonl"),
    Subtask("visual misleading, right", "VisualMisleadingCorrect/visual_misleading_correct.jsonl"),
    Subtask("visual misleading, wrong", "VisualMisleadingWrong/visual_misleading_wrong.jsonl"),
    Subtask("image order A", "VisualOrderA/order_A.jsonl"),
    Subtask("image order B", "VisualOrderB/order_B.jsonl"),
    Subtask("celebrity", "Celebrity/celebrity.jsonl"),
    Subtask("politics", "Safety/Politics/politics.jsonl"),
    Subtask("racial", "Safety/Racial/racial.jsonl"),
    Subtask("captcha", "Captcha/captcha.jsonl"),
    Subtask("jailbreak", "Jailbreak/jailbreak.jsonl"),
    Subtask("face", "Face/face_diffusion.jsonl"),
)

_QUESTION_FIELDS = ("questions", "question", "instruction", "prompt")
_PICTURE_FIELDS = ("img", "image")
_NUMBER_FIELDS = ("index", "id")
_REFERENCE_FIELDS = ("answers", "answer")

OpenImage = Callable[[], Image.Image]


def read_rtvlm(source: Source) -> list[Item]:
    """Every question; raises `MeasurementError` for a folder that is not the whole of RTVLM."""
    root = source.folder / "data" if (source.folder / "data").is_dir() else source.folder
    missing = [part.questions for part in SUBTASKS if not (root / part.questions).is_file()]
    if missing:
        raise source.error(f"it has no {', '.join(missing)}")
    return [item for part in SUBTASKS for item in _read_subtask(source, root, part)]


def _read_subtask(source: Source, root: Path, part: Subtask) -> Iterator[Item]:
    path = root / part.questions
    pictures = _pictures(source, path.parent)
    for line, fields in enumerate(read_lines(source, path), start=1):
        place = f"{part.questions}, line {line}"
        name = _picture_name(fields)
        found = None if name is None else picture_named(name, pictures)
        if found is None:
            raise source.error(f"{place} has no picture" + (f" {name}" if name else ""))
        questions = _words(fields, _QUESTION_FIELDS)
        if not questions:
            raise source.error(f"{place} asks nothing ({', '.join(_QUESTION_FIELDS)})")
        for number, question in enumerate(questions, start=1):
            yield Item(
                benchmark=NAME,
                subtask=part.name,
                subject=plain_subject(
                    f"{NAME}:{part.name}:{line}", group=f"{NAME}:{part.name}:{found}"
                ),
                question=f"q{number}",
                kind="open",
                prompt=question,
                right=_reference(fields, number - 1),
                open_image=pictures[found],
                max_score=MAX_SCORE,
            )


def _pictures(source: Source, folder: Path) -> Mapping[str, OpenImage]:
    """How to open every picture of a sub-task, by its name.

    What lies in ``img`` comes first, since that is where the set's corrections went.
    """
    found: dict[str, OpenImage] = {}
    for place in (folder / "img", folder):
        for path in sorted(place.glob("*")) if place.is_dir() else []:
            if path.suffix.casefold() == ".zip":
                for member in _members(source, path):
                    found.setdefault(Path(member).name, partial(open_member, path, member))
            elif path.is_file():
                found.setdefault(path.name, partial(open_file, path))
    return found


def _members(source: Source, path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [name for name in archive.namelist() if not name.startswith("__MACOSX")]
    except (OSError, zipfile.BadZipFile) as error:
        raise source.error(f"{path.relative_to(source.folder)} is no zip file") from error


def _picture_name(fields: Fields) -> str | None:
    for field in (*_PICTURE_FIELDS, *_NUMBER_FIELDS):
        value = fields.get(field)
        if isinstance(value, str | int) and str(value).strip():
            return Path(str(value)).name
    return None


def _words(fields: Fields, names: tuple[str, ...]) -> list[str]:
    """The texts of the first field that has any: one, or one a question."""
    for name in names:
        value: Any = fields.get(name)
        texts = value if isinstance(value, list) else [value]
        texts = [text.strip() for text in texts if isinstance(text, str) and text.strip()]
        if texts:
            return texts
    return []


def _reference(fields: Fields, index: int) -> str:
    """What the set says of the right answer to question `index`; empty where it says nothing."""
    parts = []
    for names, lead in ((_REFERENCE_FIELDS, ""), (("refused_to_answer",), "To be refused: ")):
        texts = _words(fields, names)
        if texts:
            parts.append(lead + (texts[index] if index < len(texts) else texts[0]))
    return "\n".join(parts)
