from typing import Any

import pytest

from benchmarks.capabilities.general.items import Item, plain_subject, tasks_of
from benchmarks.capabilities.general.word_overlap import WordOverlap
from benchmarks.capabilities.tasks import Task


def _task(benchmark: str, reference: str) -> Task:
    item = Item(
        benchmark=benchmark,
        subtask="",
        subject=plain_subject("one"),
        question="q1",
        kind="open",
        prompt="What?",
        right=reference,
        open_image=lambda: None,  # type: ignore[arg-type, return-value]
    )
    (task,) = tasks_of([item], modes=("written",), seed=0)
    return task


async def _score(benchmark: str, reference: str, answer: str) -> float | None:
    (score,) = await WordOverlap().score([(_task(benchmark, reference), answer)])
    return score


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("reference", "answer", "score"),
    [
        ("-1<AND>-5", "x = -1 or x = -5", 1.0),
        ("-1<AND>-5", "x = -1", 0.5),
        ("-1<AND>-5", "x = 1 or x = 5", 0.0),
        ("1.25<OR>5/4", "It is 5/4.", 1.0),
        ("1.25<OR>5/4", "It is 125.", 0.0),
        ("eight<OR>8.0", "The price is Eight dollars", 1.0),
        ("red<OR>crimson<AND>car", "A crimson car", 1.0),
        ("a cup of tea", "a cup", 0.5),
        ("cup", "a cup of tea and much else besides", 1.0),
        ("cup", "... !", None),
        ("cup", "", None),
    ],
)
async def test_mm_vet_by_words(reference: str, answer: str, score: Any) -> None:
    assert await _score("mm-vet/word-overlap", reference, answer) == score


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("reference", "answer", "score"),
    [
        ("a wide beach", "a wide beach", 1.0),
        ("a wide beach", "A beach!", 0.8),
        ("a wide beach", "two dogs", 0.0),
        ("beach", "beach beach beach", 0.5),
        ("beach", "", None),
    ],
)
async def test_llava_bench_by_words(reference: str, answer: str, score: Any) -> None:
    assert await _score("llava-bench/word-overlap", reference, answer) == (
        None if score is None else pytest.approx(score)
    )


@pytest.mark.anyio
@pytest.mark.parametrize("benchmark", ["mm-vet", "llava-bench", "rtvlm", "rtvlm/word-overlap"])
async def test_a_judged_benchmark_is_never_scored_by_words(benchmark: str) -> None:
    with pytest.raises(ValueError, match="is not scored by words"):
        await _score(benchmark, "cup", "cup")
