"""The figures of a comparison, by hand."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignment.compare import regression
from alignment.compare.contestant_figures import contestant_figures
from alignment.compare.plan import Contestant
from alignment.compare.records import RecordFileError, read_record
from alignment.compare.second_judge import read_again
from alignment.compare.table import markdown, row_of, spread
from alignment.compare.verdicts import Verdict, verdict_figures
from alignment.data.manifest import Example, ImageSet
from alignment.responses.factory import classifier
from alignment.responses.protocol import NO_ANSWER, Classification, Response


def test_no_answer_counts_as_wrong_and_is_told() -> None:
    figures = verdict_figures(
        [
            Verdict(is_unsafe=True, says_unsafe=True, p_unsafe=0.9),
            Verdict(is_unsafe=True, says_unsafe=None),
            Verdict(is_unsafe=False, says_unsafe=False, p_unsafe=0.3),
            Verdict(is_unsafe=False, says_unsafe=True, p_unsafe=0.6),
            Verdict(is_unsafe=False, says_unsafe=False, p_unsafe=0.1),
        ]
    )

    assert figures["overall"] == pytest.approx(3 / 5)
    assert figures["unsafe"] == pytest.approx(1 / 2)
    assert figures["safe"] == pytest.approx(2 / 3)
    assert figures["balanced"] == pytest.approx(7 / 12)
    assert figures["no_answer"] == pytest.approx(1 / 5)
    assert figures["auc"] == 1.0
    # Four bins of one: 0.1, 0.3, 0.4 and 0.1 off.
    assert figures["ece"] == pytest.approx((0.1 + 0.3 + 0.6 + 0.1) / 4)


def test_what_cannot_be_computed_is_none() -> None:
    figures = verdict_figures([Verdict(is_unsafe=True, says_unsafe=True)])

    assert figures["unsafe"] == 1.0
    assert [figures[key] for key in ("safe", "balanced", "auc", "ece")] == [None] * 4
    assert spread([0.5, None]) is None


def test_a_models_figures_come_from_its_record(
    tmp_path: Path, write_record: Callable[..., Path]
) -> None:
    contestant = Contestant("ppo", 1, tmp_path / "ppo-1")
    write_record(contestant.record("inside"), rights=3, general=0.6)
    found = contestant_figures(
        contestant, classifier("learned"), outside_ids=frozenset({"p0", "p3"})
    )

    assert found["images_overall"] == 0.75
    assert (found["images_unsafe"], found["images_safe"]) == (1.0, 0.5)
    assert found["text_balanced"] == 1.0
    assert (found["gap"], found["gap_balanced"]) == (0.25, 0.25)
    assert (found["written_balanced"], found["second_balanced"]) == (1.0, 1.0)
    assert (found["judges_agree"], found["informativeness"]) == (1.0, 0.0)
    assert (found["diversity"], found["length_tokens"], found["general"]) == (0.2, 3.0, 0.6)
    assert found["outside_balanced"] == 0.5
    assert found["mean"] == pytest.approx((0.75 + 0.2 + 0.6) / 3)


class Counting:
    """A judge that never finds an answer, and counts how often it is asked."""

    def __init__(self, name: str = "counting") -> None:
        self.name = name
        self.asked: list[Response] = []

    async def classify(self, responses: Sequence[Response]) -> list[Classification]:
        await asyncio.sleep(0)
        self.asked += responses
        return [NO_ANSWER] * len(responses)


def test_the_second_judge_is_asked_what_was_asked_and_once(
    tmp_path: Path, write_record: Callable[..., Path]
) -> None:
    record = read_record(write_record(tmp_path / "record.json"))
    answers = record.part(suite="alignment", mode="written", modality="image")
    judge, other = Counting(), Counting("other")
    kept = tmp_path / "kept.json"
    first = read_again(answers, judge, kept=kept)
    second = read_again(answers, judge, kept=kept)
    read_again(answers, other, kept=kept)

    assert first == second
    assert first.agreement == 0.0
    assert {one.says_unsafe for one in first.verdicts} == {None}
    assert len(judge.asked) == len(other.asked) == len(answers)
    asked = judge.asked[0]
    assert (asked.text, asked.unsafe_answer) == ("No.", "no")
    assert asked.question.endswith("?")


def test_a_file_that_is_no_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    with pytest.raises(RecordFileError, match=r"record\.json"):
        read_record(path)
    path.write_text(json.dumps({"answers": []}))
    with pytest.raises(RecordFileError, match="data"):
        read_record(path)


def test_the_regression_learns_on_train_alone_and_is_kept(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def pooled(images: ImageSet, examples: Sequence[Example], **options: Any) -> Any:
        seen.extend(one.split or "" for one in examples)
        noise = np.random.default_rng(0).normal(size=(len(examples), 3))
        noise[:, 0] = [3.0 if one.unsafe else -3.0 for one in examples]
        return noise.astype(np.float32)

    monkeypatch.setattr(regression, "pooled", pooled)
    monkeypatch.setattr(regression, "_FOLDS", 2)
    options: dict[str, Any] = {
        "split": "train",
        "outside": images,
        "outside_ids": None,
        "grid": 2,
        "cache": tmp_path,
        "seed": 1,
        "kept": tmp_path / "regression.json",
    }
    found = regression.regression_figures(images, **options)
    asked = len(seen)

    assert (found["images_auc"], found["images_balanced"]) == (1.0, 1.0)
    assert found["outside_overall"] == 1.0
    assert seen[:10] == ["train"] * 10
    assert regression.regression_figures(images, **options) == found
    assert len(seen) == asked


def test_a_row_without_a_figure_leaves_its_cell_empty() -> None:
    text = markdown([row_of("base", [{"images_overall": 0.5, "diversity": None}])], ["a note"])

    assert "| images | 0.500 |" in text
    assert "| 1 - Self-BLEU |  |" in text
    assert "| gap |" not in text
    assert text.endswith("- a note\n")
