"""The parser held against answers that were labelled by hand before it read them."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from alignment import responses
from alignment.responses.labelled import (
    LabelledAnswer,
    LabelledLetter,
    Score,
    read_labelled,
    score_answers,
    score_letters,
)
from alignment.responses.rules import RuleLetters, RulesClassifier
from server.concepts.probes import load_probes

FOLDER = Path(responses.__file__).with_name("hand_labelled")
ANSWERS = FOLDER / "labelled_answers.jsonl"
SAMPLED = FOLDER / "sampled_answers.jsonl"
LETTERS = Path(__file__).with_name("labelled_letters.jsonl")

GOAL = 0.97
# What a language model of 135 M parameters rambles is hard to read even for people.
SAMPLED_GOAL = 0.9


def answers(path: Path = ANSWERS) -> list[LabelledAnswer]:
    return [item for item in read_labelled(path) if isinstance(item, LabelledAnswer)]


def lettered() -> list[LabelledLetter]:
    return [item for item in read_labelled(LETTERS) if isinstance(item, LabelledLetter)]


def shown(title: str, score: Score) -> str:
    lines = [f"{title}: {score.accuracy:.4f} of {score.count}"]
    lines += [f"  {label} read as {said}: {n}" for (label, said), n in score.confusion.items()]
    lines += [f"  wrong: {item.label}, read as {said}: {item.text!r}" for item, said in score.wrong]
    return "\n".join(lines)


@pytest.mark.parametrize("split", ["dev", "held", "all"])
def test_written_answers_are_read_as_labelled(split: str) -> None:
    chosen = [item for item in answers() if split in {item.split, "all"}]
    score = asyncio.run(score_answers(RulesClassifier(), chosen))

    print(shown(f"rules, {split}", score))  # noqa: T201 - the figure, with -s
    assert score.accuracy >= GOAL, shown(split, score)


def test_a_rambling_models_answers_are_read_as_labelled() -> None:
    score = asyncio.run(score_answers(RulesClassifier(), answers(SAMPLED)))

    print(shown("rules, sampled", score))  # noqa: T201 - the figure, with -s
    assert score.accuracy >= SAMPLED_GOAL, shown("sampled", score)


@pytest.mark.parametrize("split", ["dev", "held", "all"])
def test_lettered_answers_are_read_as_labelled(split: str) -> None:
    chosen = [item for item in lettered() if split in {item.split, "all"}]
    score = asyncio.run(score_letters(RuleLetters(), chosen))

    print(shown(f"letters, {split}", score))  # noqa: T201 - the figure, with -s
    assert score.accuracy >= GOAL, shown(split, score)


def test_what_is_safe_is_hardly_ever_taken_for_unsafe_nor_the_other_way_round() -> None:
    items = [*answers(), *answers(SAMPLED)]
    confusion = asyncio.run(score_answers(RulesClassifier(), items)).confusion
    flips = confusion["safe", "unsafe"] + confusion["unsafe", "safe"]

    assert flips / confusion.total() <= 0.01


def test_the_labelled_answers_are_many_varied_and_all_different() -> None:
    items = answers()
    by_split = Counter(item.split for item in items)
    by_label = Counter(item.label for item in items)

    assert len(items) >= 600
    assert by_split["held"] >= len(items) // 3
    assert min(by_label.values()) >= len(items) // 6
    assert len({(item.question, item.text) for item in items}) == len(items)
    assert len({item.style for item in items}) >= 20
    assert {item.unsafe_answer for item in items} == {"yes", "no"}


def test_the_labelled_answers_cover_the_shipped_probes() -> None:
    asked = {item.question for item in answers()}

    assert {probe.question for probe in load_probes().judgements} <= asked


def test_every_labelled_letter_is_an_option_or_none() -> None:
    items = lettered()

    assert len(items) >= 60
    for item in items:
        assert item.label == "no answer" or item.label in "ABCDEFGH"[: len(item.options)]
