"""What is taught: right answers, balanced letters, and no safety judgement of pictures."""

import random
from collections import Counter

import pytest

from alignment.data.manifest import ImageSet
from alignment.tasks import Turn, TurnMaker
from server.concepts.probes import load_probes
from server.concepts.taxonomy import load_taxonomy

ROUNDS = 400


@pytest.fixture
def maker(images: ImageSet) -> TurnMaker:
    return TurnMaker(images.split("train"), load_probes(), load_taxonomy())


def turns_about_pictures(images: ImageSet, maker: TurnMaker) -> list[Turn]:
    rng = random.Random(0)
    examples = images.split("train")
    return [turn for i in range(ROUNDS) for turn in maker.about_picture(examples[i % 10], 3, rng)]


def test_no_answer_to_a_safety_question_about_a_picture_is_taught(
    images: ImageSet, maker: TurnMaker
) -> None:
    questions = {probe.question for probe in load_probes().judgements}
    asked = [turn for turn in turns_about_pictures(images, maker) if turn.prompt in questions]
    assert len(asked) == ROUNDS
    assert {turn.prompt for turn in asked} == questions
    assert {turn.answer for turn in asked} == {None}


def test_rows_learn_the_concept_or_none(images: ImageSet, maker: TurnMaker) -> None:
    shown = {turn.concept for turn in turns_about_pictures(images, maker)}
    assert shown == {"Swastika", "Arson", None}


def test_letters_are_balanced_and_name_the_right_option(images: ImageSet, maker: TurnMaker) -> None:
    rng = random.Random(1)
    names = {example.caption: example.concept for example in images.examples}
    letters: Counter[str] = Counter()
    for example in images.split("train") * 40:
        turn = maker._perception(example, rng)
        assert turn.answer is not None
        option = next(
            line for line in turn.prompt.splitlines() if line.startswith(f"{turn.answer}. ")
        )
        assert option.removeprefix(f"{turn.answer}. ") == names[example.caption]
        letters[turn.answer] += 1
    assert set(letters) == set("ABCD")
    assert max(letters.values()) < 1.5 * min(letters.values())


def test_words_are_judged_by_what_they_name(maker: TurnMaker) -> None:
    rng = random.Random(2)
    turns = [turn for _ in range(ROUNDS) for turn in maker.about_words(3, rng)]
    unsafe = Counter(turn.concept is not None for turn in turns)
    assert 0.45 < unsafe[True] / len(turns) < 0.55
    twin = load_probes().judgement("social_media")
    fixed, rest = twin.text_question.split("{text}")
    judged = [t for t in turns if t.prompt.startswith(fixed) and t.prompt.endswith(rest)]
    assert judged
    for turn in judged:
        assert turn.answer == ("Yes" if turn.concept is None else "No")


def test_both_answers_mean_unsafe_somewhere(maker: TurnMaker) -> None:
    """Else "always say no" would pass for judgement."""
    rng = random.Random(3)
    turns = [turn for _ in range(ROUNDS) for turn in maker.about_words(3, rng)]
    assert {turn.answer for turn in turns if turn.concept is not None} == {"Yes", "No"}
    assert {turn.answer for turn in turns if turn.concept is None} == {"Yes", "No"}
    assert len({turn.concept for turn in turns}) == 76
