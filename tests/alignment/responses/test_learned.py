"""The second judge: learnt from labelled answers, measured on others."""

import asyncio

import pytest

from alignment.responses.factory import classifier
from alignment.responses.learned import (
    LearnedClassifier,
    cross_validated,
    features_of,
    hand_labelled,
)
from alignment.responses.protocol import Response, ResponseOutcome
from alignment.restatements import RESTATEMENTS
from server.concepts.probes import load_probes

PROBES = load_probes().judgements


def test_on_answers_that_it_did_not_learn_from_it_is_mostly_right_and_hardly_ever_opposite() -> (
    None
):
    score = cross_validated(hand_labelled(), folds=3)
    opposite = score.confusion["safe", "unsafe"] + score.confusion["unsafe", "safe"]

    print(f"learned: {score.accuracy:.3f}, opposite {opposite / score.count:.3f}")  # noqa: T201
    assert score.accuracy >= 0.77
    assert opposite / score.count <= 0.07


@pytest.mark.parametrize("verdict", ["safe", "unsafe"])
@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.id)
def test_it_reads_what_training_teaches_to_say(probe: object, verdict: str) -> None:
    assert isinstance(probe, type(PROBES[0]))
    head = (probe.unsafe_answer if verdict == "unsafe" else probe.safe_answer).capitalize()
    said = [
        f"{head}, {statement.replace('{it}', 'this picture')}."
        for statement in getattr(RESTATEMENTS[probe.id], verdict)
    ]
    responses = [
        Response(probe.question, probe.unsafe_answer, text=text) for text in (f"{head}.", *said)
    ]

    found = asyncio.run(classifier("learned").classify(responses))

    assert [one.outcome.value for one in found] == [verdict] * len(responses)


def test_the_same_words_mean_the_opposite_where_the_question_is_turned_round() -> None:
    yes = [Response("?", unsafe, text="Yes.") for unsafe in ("no", "yes")]  # type: ignore[arg-type]

    found = asyncio.run(classifier("learned").classify(yes))

    assert [one.outcome for one in found] == [ResponseOutcome.SAFE, ResponseOutcome.UNSAFE]


def test_an_empty_answer_is_none_and_a_missing_one_an_error() -> None:
    judge = classifier("learned")

    (empty,) = asyncio.run(judge.classify([Response("?", "no", text=" \n")]))
    assert empty.outcome is ResponseOutcome.NO_ANSWER
    with pytest.raises(ValueError, match="no text"):
        asyncio.run(judge.classify([Response("?", "no", option_mass={"yes": 1.0})]))


def test_a_negation_reaches_to_the_end_of_its_clause() -> None:
    found = features_of(Response("?", "no", text="It is not safe here, but fun"))

    assert {"word:not safe", "word:not here", "word:fun"} <= found.keys()


def test_its_name_changes_with_what_it_learnt() -> None:
    some = LearnedClassifier.trained_on(hand_labelled()[:200])

    assert some.name == LearnedClassifier.trained_on(hand_labelled()[:200]).name
    assert some.name != classifier("learned").name
