"""Written targets: read back as what they are meant to say, varied, and the same every time."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignment.data.contexts import load_contexts
from alignment.data.manifest import Example
from alignment.prompts import AlignmentPrompt
from alignment.responses.protocol import Response
from alignment.responses.rules import RulesClassifier
from alignment.restatements import REASONS_UNSAFE, RESTATEMENTS
from alignment.targets import TargetWriter, UnknownSubjectError
from alignment.tasks import CAPTION_REQUESTS
from server.concepts.probes import load_probes
from server.concepts.taxonomy import load_taxonomy

PROBES = load_probes().judgements
CONCEPTS = load_taxonomy().concept_names
SAFE_NAMES = ("apple", "no smoking", "rock band", "Safe", "", "assault rifle", "The Hague")
UNSAFE = [
    Example(id=f"u{number}", file="x.png", label="Unsafe", concept=concept)
    for number, concept in enumerate(CONCEPTS)
]
SAFE = [
    Example(id=f"s{number}", file="x.png", label="Safe", concept=name, caption="a photo of it")
    for number, name in enumerate(SAFE_NAMES)
]
EXAMPLES = [*UNSAFE, *SAFE]
OWN_QUESTIONS = (
    ("Would a moderator take this picture down? Answer yes or no.", "yes"),
    ("Is this image harmless? Answer yes or no.", "no"),
)
OPPOSITE = {"safe": "unsafe", "unsafe": "safe"}


def about_pictures() -> list[AlignmentPrompt]:
    asked = [(probe.question, probe.unsafe_answer) for probe in PROBES]
    return [
        AlignmentPrompt(
            id=f"{example.id}:{number}",
            text=text,
            example_id=example.id,
            right="unsafe" if example.unsafe else "safe",
            unsafe_answer=unsafe_answer,
        )
        for example, (number, (text, unsafe_answer)) in product(
            EXAMPLES, enumerate([*asked, *OWN_QUESTIONS])
        )
    ]


def about_words() -> list[AlignmentPrompt]:
    return [
        AlignmentPrompt(
            id=f"words:{example.concept}:{probe.id}",
            text=probe.about_text(example.concept),
            example_id=None,
            right="unsafe" if example.unsafe else "safe",
            unsafe_answer=probe.unsafe_answer,
        )
        for example, probe in product(EXAMPLES, PROBES)
        if example.concept
    ]


def about_settings() -> list[AlignmentPrompt]:
    contexts = load_contexts()
    return [
        AlignmentPrompt(
            id=f"{example.id}:{right}",
            text=contexts.question(getattr(contexts.of(example.concept), setting)),
            example_id=example.id,
            right=right,
            unsafe_answer=contexts.unsafe_answer,
        )
        for example in UNSAFE
        for setting, right in (("fine", "safe"), ("not_fine", "unsafe"))
    ]


KINDS = {"pictures": about_pictures(), "words": about_words(), "settings": about_settings()}
PROMPTS = [prompt for prompts in KINDS.values() for prompt in prompts]


def read(prompt: AlignmentPrompt, answer: str) -> str:
    assert prompt.unsafe_answer is not None
    response = Response(prompt.text, prompt.unsafe_answer, text=answer)
    return RulesClassifier().read(response).outcome.value


@pytest.mark.parametrize("kind", KINDS)
def test_every_target_is_read_as_right_and_its_opposite_as_wrong(kind: str) -> None:
    writer = TargetWriter(EXAMPLES, seed=1)
    misread = []
    for prompt in KINDS[kind]:
        pair = writer.pair(prompt)
        assert pair is not None
        assert prompt.right is not None
        assert pair.chosen == writer.target(prompt)
        for answer, said in ((pair.chosen, prompt.right), (pair.rejected, OPPOSITE[prompt.right])):
            if read(prompt, answer) != said:
                misread.append((prompt.text, answer))

    assert misread == []


@settings(max_examples=60, deadline=None)
@given(prompt=st.sampled_from(PROMPTS), seed=st.integers(0, 2**32))
def test_any_seed_writes_what_is_read_as_meant(prompt: AlignmentPrompt, seed: int) -> None:
    writer = TargetWriter(EXAMPLES, seed=seed)
    pair = writer.pair(prompt)
    assert pair is not None
    assert prompt.right is not None
    assert read(prompt, pair.chosen) == prompt.right
    assert read(prompt, pair.rejected) == OPPOSITE[prompt.right]
    assert {pair.chosen[:2], pair.rejected[:2]} == {"Ye", "No"}
    assert TargetWriter(EXAMPLES, seed=seed).pair(prompt) == pair
    # In another company the same prompt still has the same target.
    assert TargetWriter(reversed(EXAMPLES), seed=seed).pair(prompt) == pair


def test_targets_name_the_concept_and_restate_the_question_in_many_forms() -> None:
    arson = next(example for example in UNSAFE if example.concept == "Arson")
    probe = load_probes().judgement("general_audience")
    prompt = AlignmentPrompt("p", probe.question, arson.id, "unsafe", probe.unsafe_answer)
    answers = {TargetWriter(EXAMPLES, seed=seed).target(prompt) for seed in range(60)}

    assert len(answers) > 20
    for answer in answers:
        assert answer is not None
        assert answer.startswith("No")
        assert "arson" in answer
        assert "suitable for everyone" in answer or "not everyone" in answer.lower()


def test_a_question_of_ones_own_is_answered_in_its_polarity() -> None:
    arson = next(example for example in UNSAFE if example.concept == "Arson")
    writer = TargetWriter(EXAMPLES, seed=0)
    for question, unsafe_answer in OWN_QUESTIONS:
        prompt = AlignmentPrompt("p", question, arson.id, "unsafe", unsafe_answer)  # type: ignore[arg-type]
        answer = writer.target(prompt)
        assert answer is not None
        assert answer.lower().startswith(unsafe_answer)


def test_names_that_would_mislead_are_left_out() -> None:
    probe = PROBES[0]
    for name in ("no smoking", "Safe", ""):
        (example,) = (one for one in SAFE if one.concept == name)
        prompt = AlignmentPrompt("p", probe.question, example.id, "safe", probe.unsafe_answer)
        assert "it shows something, and" in str(TargetWriter(SAFE, seed=0).target(prompt)).lower()


def test_captions_are_learnt_as_before_and_other_general_prompts_left_out() -> None:
    writer = TargetWriter(EXAMPLES, seed=0)
    caption = AlignmentPrompt("c", CAPTION_REQUESTS[0], SAFE[0].id)
    lettered = AlignmentPrompt("l", "What does this picture show?\nA. x\nB. y", SAFE[0].id)
    uncaptioned = AlignmentPrompt("n", CAPTION_REQUESTS[0], UNSAFE[0].id)

    assert writer.target(caption) == "A photo of it."
    assert writer.target(lettered) is None
    assert writer.target(uncaptioned) is None
    assert writer.pair(caption) is None


def test_a_picture_of_another_set_is_refused() -> None:
    prompt = AlignmentPrompt("p", PROBES[0].question, "elsewhere", "safe", "no")
    with pytest.raises(UnknownSubjectError, match="about picture 'elsewhere'"):
        TargetWriter(EXAMPLES, seed=0).target(prompt)


def test_every_shipped_question_and_category_has_its_words() -> None:
    assert set(RESTATEMENTS) == {probe.id for probe in PROBES}
    assert set(REASONS_UNSAFE) == set(load_taxonomy().category_names)
    for restatement in RESTATEMENTS.values():
        for statement in (*restatement.safe, *restatement.unsafe):
            assert statement.count("{it}") == 1
