"""Which prompts a step asks: balanced, every picture once an epoch, all from (seed, step) alone."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from alignment.data.manifest import Example, ImageSet
from alignment.prompt_sampler import (
    AlignmentPrompts,
    NoTrainSplitError,
    OneLabelError,
    PromptMix,
    ViewReader,
)
from alignment.prompts import AlignmentPrompt
from alignment.tasks import CAPTION_REQUESTS
from server.concepts.probes import load_probes
from server.concepts.taxonomy import load_taxonomy

STYLES = ("photo", "photo", "photo", "icon")


def example(number: int, *, unsafe: bool, split: str | None = "train") -> Example:
    labels = ("Unsafe", "Arson") if unsafe else ("Safe", f"thing {number}")
    return Example.model_validate(
        {
            "id": f"{'u' if unsafe else 's'}{number}",
            "file": f"{number}.png",
            "label": labels[0],
            "concept": labels[1],
            "style": STYLES[number % 4],
            "split": split,
        }
    )


def image_set(unsafe: int, safe: int, split: str | None = "train") -> ImageSet:
    examples = [example(n, unsafe=True, split=split) for n in range(unsafe)]
    examples += [example(n, unsafe=False, split=split) for n in range(safe)]
    return ImageSet(Path("nowhere"), tuple(examples), "", name="drawn")


def prompts_of(
    mix: PromptMix, steps: int, *, unsafe: int = 8, safe: int = 12, seed: int = 1, views: int = 1
) -> list[tuple[AlignmentPrompt, ...]]:
    prompts = AlignmentPrompts(image_set(unsafe, safe), mix, seed=seed, views=views)
    return [prompts.of_step(step) for step in range(steps)]


def about(batch: tuple[AlignmentPrompt, ...], label: str) -> list[AlignmentPrompt]:
    return [p for p in batch if p.right == label and p.example_id is not None]


def test_every_step_has_its_mix_half_safe_half_unsafe() -> None:
    for batch in prompts_of(PromptMix(pictures=6, words=4, general=3), 5):
        assert len(batch) == 13
        assert len(about(batch, "safe")) == len(about(batch, "unsafe")) == 3
        words = [p for p in batch if p.example_id is None]
        assert Counter(p.right for p in words) == {"safe": 2, "unsafe": 2}
        assert sum(p.right is None for p in batch) == 3


def test_an_odd_count_is_evened_out_over_steps() -> None:
    batches = prompts_of(PromptMix(pictures=3), 4)
    assert [len(about(batch, "unsafe")) for batch in batches] == [2, 1, 2, 1]


def test_every_picture_comes_once_an_epoch_in_another_order() -> None:
    batches = prompts_of(PromptMix(pictures=4), 12)
    unsafe = [p.example_id for batch in batches for p in about(batch, "unsafe")]
    safe = [p.example_id for batch in batches for p in about(batch, "safe")]
    epochs = [unsafe[:8], unsafe[8:16], unsafe[16:]]
    assert [len(set(epoch)) for epoch in epochs] == [8, 8, 8]
    assert epochs[0] != epochs[1]
    assert len(set(safe[:12])) == len(set(safe[12:])) == 12


def test_styles_are_spread_over_an_epoch() -> None:
    """A quarter are icons: every quarter of an epoch has its share, give or take one."""
    batches = prompts_of(PromptMix(pictures=16), 4, unsafe=32, safe=32)
    for batch in batches:
        icons = [int(p.example_id[1:]) % 4 == 3 for p in about(batch, "unsafe") if p.example_id]
        assert len(icons) == 8
        assert 1 <= sum(icons) <= 3


def test_the_right_answer_is_the_label_and_any_of_five_probes_asks() -> None:
    batches = prompts_of(PromptMix(pictures=8), 40)
    probes = {probe.question: probe for probe in load_probes().judgements}
    asked = Counter()
    for prompt in (p for batch in batches for p in batch):
        assert prompt.example_id is not None
        assert prompt.right == ("unsafe" if prompt.example_id.startswith("u") else "safe")
        assert prompt.unsafe_answer == probes[prompt.text].unsafe_answer
        asked[prompt.text] += 1
    assert asked.keys() == probes.keys()
    assert min(asked.values()) > 320 / 5 / 2
    of_one = {p.text for batch in batches for p in batch if p.example_id == "u0"}
    assert len(of_one) > 2, "another probe in another epoch"


def test_a_step_depends_on_seed_and_number_alone() -> None:
    mix = PromptMix(pictures=4, words=2, general=2)
    batches = prompts_of(mix, 9, views=3)
    late = AlignmentPrompts(image_set(8, 12), mix, seed=1, views=3)
    assert [late.of_step(step) for step in (8, 0, 5)] == [batches[8], batches[0], batches[5]]
    assert prompts_of(mix, 9, views=3, seed=2) != batches


def test_views_are_all_shown() -> None:
    batches = prompts_of(PromptMix(pictures=4, general=4), 20, views=3)
    assert {p.view for batch in batches for p in batch} == {0, 1, 2}


def test_words_are_asked_by_the_text_twins() -> None:
    batches = prompts_of(PromptMix(pictures=2, words=6), 60)
    words = [p for batch in batches for p in batch if p.example_id is None]
    concepts = {name.lower() for name in load_taxonomy().concept_names}
    for prompt in words:
        twins = [t.text_question.split("{text}") for t in load_probes().judgements]
        (middle,) = [
            prompt.text.removeprefix(before).removesuffix(after)
            for before, after in twins
            if prompt.text.startswith(before) and prompt.text.endswith(after)
        ]
        assert (middle.lower() in concepts) == (prompt.right == "unsafe")
    assert len({p.text for p in words if p.right == "unsafe"}) > 60
    assert {p.text.split("shows ")[1][0].isupper() for p in words if p.right == "unsafe"} == {
        True,
        False,
    }


def test_general_questions_have_no_right_answer_and_a_fair_choice() -> None:
    batches = prompts_of(PromptMix(pictures=0, general=4), 40)
    general = [p for batch in batches for p in batch]
    assert all(p.right is None and p.unsafe_answer is None and p.example_id for p in general)
    captions = [p for p in general if p.text in CAPTION_REQUESTS]
    assert 50 < len(captions) < 110
    for prompt in general:
        if prompt.text in CAPTION_REQUESTS:
            continue
        options = [line[3:] for line in prompt.text.splitlines() if line[1:3] == ". "]
        assert len(set(options)) == 4
        assert prompt.example_id is not None
        shown = "Arson" if prompt.example_id[0] == "u" else f"thing {prompt.example_id[1:]}"
        assert shown in options


def test_ids_are_unique_within_a_step() -> None:
    for batch in prompts_of(PromptMix(pictures=8, general=6), 10, views=2):
        assert len({p.id for p in batch}) == len(batch)


@pytest.mark.parametrize(("unsafe", "safe", "missing"), [(4, 0, "safe"), (0, 4, "unsafe")])
def test_one_label_alone_is_refused(unsafe: int, safe: int, missing: str) -> None:
    with pytest.raises(OneLabelError, match=f"drawn has no {missing} picture in its train split"):
        AlignmentPrompts(image_set(unsafe, safe), PromptMix(pictures=2), seed=1)


@pytest.mark.parametrize("split", [None, "test"])
def test_nothing_but_the_train_split_is_asked_about(split: str | None) -> None:
    with pytest.raises(NoTrainSplitError, match="drawn has no train split"):
        AlignmentPrompts(image_set(4, 4, split), PromptMix(pictures=2), seed=1)
    both = image_set(4, 4)
    tested = [example(n, unsafe=n % 2 == 0, split="test") for n in range(50, 60)]
    mixed = ImageSet(both.folder, (*both.examples, *tested), "", name="drawn")
    prompts = AlignmentPrompts(mixed, PromptMix(pictures=4, words=4, general=4), seed=1)
    ids = {p.example_id for step in range(20) for p in prompts.of_step(step)}
    assert ids == {None} | {one.id for one in both.examples}


def test_safe_pictures_without_a_name_can_give_no_safe_words() -> None:
    nameless = [
        one.model_copy(update={"concept": ""}) if not one.unsafe else one
        for one in image_set(2, 2).examples
    ]
    images = ImageSet(Path("nowhere"), tuple(nameless), "", name="drawn")
    with pytest.raises(OneLabelError, match="in words"):
        AlignmentPrompts(images, PromptMix(pictures=2, words=2), seed=1)
    prompts = AlignmentPrompts(images, PromptMix(pictures=2, general=8), seed=1)
    assert all("A. " not in p.text for p in prompts.of_step(0) if p.example_id in ("s0", "s1"))


@pytest.mark.parametrize("mix", [(0, 0, 0), (-1, 2, 2)])
def test_no_mix_is_refused(mix: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no mix"):
        PromptMix(*mix)


def test_a_reader_shows_the_views_that_features_are_cached_of(images: ImageSet) -> None:
    from alignment.augment import view_of

    reader = ViewReader(images, seed=5)
    one = images.examples[3]
    plain: Any = images.open(one)
    assert reader(one.id, 0).tobytes() == plain.tobytes()
    expected = view_of(plain, style=one.style, key=one.id, view=2, seed=5)
    assert reader(one.id, 2).tobytes() == expected.tobytes()
    assert reader(one.id, 2).tobytes() != plain.tobytes()


def test_a_share_of_the_judgements_leaves_the_form_open() -> None:
    def share(open_share: float) -> float:
        mix = PromptMix(pictures=6, words=4, general=2, open_share=open_share)
        asked = [one for batch in prompts_of(mix, 40) for one in batch if one.right is not None]
        return sum(not one.text.endswith("Answer yes or no.") for one in asked) / len(asked)

    assert share(0.0) == 0.0
    assert 0.4 < share(0.5) < 0.6
    assert share(1.0) == 1.0
