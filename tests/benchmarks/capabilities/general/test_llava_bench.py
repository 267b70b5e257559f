from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.capabilities.general.llava_bench import read_llava_bench
from benchmarks.capabilities.general.sources import Source
from benchmarks.errors import MeasurementError

WriteJsonl = Callable[[Path, Iterable[Mapping[str, Any]]], None]


def _source(folder: Path) -> Source:
    return Source("LLaVA-Bench (In-the-Wild)", str(folder), folder)


def test_questions_captions_and_references_are_brought_together(llava_folder: Path) -> None:
    first, second = read_llava_bench(_source(llava_folder))

    assert (first.prompt, first.right, first.context) == (
        "What is it?",
        "It is a beach.",
        "A beach.",
    )
    assert second.right == "A wide beach in the sun."
    assert (first.subtask, second.subtask) == ("conv", "detail")
    assert first.subject == second.subject
    assert first.subject.id == "llava-bench:001"
    assert first.max_score == 10.0
    assert first.open_image().size == (8, 8)


def test_the_hubs_table_gives_the_same(
    tmp_path: Path,
    write_table: Callable[[Path, dict[str, list[Any]]], None],
    picture_bytes: Callable[[str], bytes],
    llava_folder: Path,
) -> None:
    write_table(
        tmp_path / "hub/data/train-00000-of-00001.parquet",
        {
            "question_id": [0, 1],
            "question": ["What is it?", "Describe it."],
            "image": [{"bytes": picture_bytes("yellow"), "path": "001.jpg"}] * 2,
            "caption": ["A beach."] * 2,
            "gpt_answer": ["It is a beach.", "A wide beach in the sun."],
            "category": ["conv", "detail"],
            "image_id": ["001", "001"],
        },
    )

    from_table = read_llava_bench(_source(tmp_path / "hub"))
    from_files = read_llava_bench(_source(llava_folder))

    def told(items: list[Any]) -> list[tuple[Any, ...]]:
        return [(one.prompt, one.right, one.context, one.subject, one.question) for one in items]

    assert told(from_table) == told(from_files)
    assert from_table[0].open_image().tobytes() == Image.new("RGB", (8, 8), "yellow").tobytes()


@pytest.mark.parametrize(
    ("file", "lines", "said"),
    [
        ("context.jsonl", [], "question 0 is about 001.jpg, of which context.jsonl says nothing"),
        ("answers_gpt4.jsonl", [], "question 0 has no answer in answers_gpt4.jsonl"),
        ("questions.jsonl", [], "it has no questions"),
        (
            "questions.jsonl",
            [{"question_id": 0, "image": "001.jpg", "category": "chat", "text": "What?"}],
            "the category 'chat'",
        ),
        (
            "questions.jsonl",
            [{"question_id": 0, "image": "009.jpg", "category": "conv", "text": "What?"}],
            "names images/009.jpg, which is not there",
        ),
        ("questions.jsonl", [{"question_id": 0, "image": "001.jpg"}], "question 0 has no 'text'"),
    ],
)
def test_a_folder_that_does_not_fit_together_is_refused(
    llava_folder: Path,
    write_jsonl: WriteJsonl,
    file: str,
    lines: list[dict[str, Any]],
    said: str,
) -> None:
    write_jsonl(llava_folder / file, lines)

    with pytest.raises(MeasurementError, match=said) as caught:
        read_llava_bench(_source(llava_folder))

    assert str(caught.value).startswith(f"{llava_folder} is not LLaVA-Bench (In-the-Wild): ")


def test_a_folder_of_something_else_is_refused(mme_folder: Path) -> None:
    with pytest.raises(MeasurementError, match=r"it has no context\.jsonl"):
        read_llava_bench(_source(mme_folder))
