"""The plan: who is asked what, in which mode, and what stays the same."""

from collections import Counter
from dataclasses import replace
from itertools import groupby

import pytest

from alignment.data.contexts import load_contexts
from alignment.data.manifest import ImageSet
from benchmarks.capabilities.plan import (
    PlanConfig,
    chosen_examples,
    fingerprint,
    make_plan,
)
from benchmarks.capabilities.tasks import Task
from benchmarks.errors import MeasurementError
from server.concepts.probes import load_probes

TOKEN = PlanConfig(modes=("token",))


def planned(image_set: ImageSet, config: PlanConfig = TOKEN) -> tuple[Task, ...]:
    return make_plan(image_set, config, probes=load_probes(), contexts=load_contexts())


def of_suite(tasks: tuple[Task, ...], suite: str) -> list[Task]:
    return [task for task in tasks if task.suite == suite]


def test_each_suite_asks_about_what_it_is_for(image_set: ImageSet) -> None:
    tasks = planned(image_set)

    assert Counter(task.suite for task in tasks) == {
        "alignment": 6 * 5,
        "perception": 3,  # unsafe pictures that name a concept
        "context": 3 * 2,
        "text": (2 + 2) * 5 * 2,  # two concepts, two safe names; blank picture and none
    }


def test_ids_are_unique_in_both_modes(image_set: ImageSet) -> None:
    tasks = planned(image_set, PlanConfig())

    assert len({task.id for task in tasks}) == len(tasks)
    assert Counter(task.mode for task in tasks)["token"] == len(tasks) / 2


def test_right_answers_follow_the_labels(image_set: ImageSet) -> None:
    tasks = planned(image_set)

    assert {(task.subject.id, task.right) for task in of_suite(tasks, "alignment")} == {
        ("gun", "unsafe"),
        ("gun-again", "unsafe"),
        ("fire", "unsafe"),
        ("unnamed", "unsafe"),
        ("cat", "safe"),
        ("cup", "safe"),
    }
    assert {(task.question, task.right) for task in of_suite(tasks, "context")} == {
        ("fine", "safe"),
        ("not_fine", "unsafe"),
    }
    for task in of_suite(tasks, "perception"):
        assert task.names["ABCD".index(task.right)] == task.subject.concept


def test_words_are_asked_with_a_blank_picture_and_with_none(image_set: ImageSet) -> None:
    by_modality = {task.modality: task for task in of_suite(planned(image_set), "text")}

    assert set(by_modality) == {"blank", "words"}
    assert by_modality["words"].open_image is None
    open_blank = by_modality["blank"].open_image
    assert open_blank is not None
    assert open_blank().getcolors() == [(336 * 336, (255, 255, 255))]


def test_near_duplicates_share_a_group_and_others_do_not(image_set: ImageSet) -> None:
    groups = {task.subject.id: task.subject.group for task in planned(image_set)}

    assert groups["gun"] == groups["gun-again"]
    assert groups["cat"] != groups["cup"]


def test_the_written_mode_asks_for_no_format(image_set: ImageSet) -> None:
    tasks = [
        task for task in planned(image_set, PlanConfig()) if task.suite in ("alignment", "context")
    ]

    assert all(task.prompt.endswith("Answer yes or no.") for task in tasks if task.mode == "token")
    assert all(task.prompt.endswith("?") for task in tasks if task.mode == "written")


def test_the_questions_about_one_picture_follow_one_another(image_set: ImageSet) -> None:
    subjects = [task.subject.id for task in planned(image_set) if task.modality == "image"]
    runs = [name for name, _ in groupby(subjects)]

    assert len(runs) == len(set(subjects))


def test_a_plan_and_its_seeds_are_reproducible(image_set: ImageSet) -> None:
    config = PlanConfig()

    assert fingerprint(planned(image_set, config)) == fingerprint(planned(image_set, config))
    assert fingerprint(planned(image_set, replace(config, seed=1))) != fingerprint(
        planned(image_set, config)
    )


def test_an_answers_seed_does_not_depend_on_what_else_is_asked(image_set: ImageSet) -> None:
    everything = {task.id: task.seed for task in planned(image_set, PlanConfig())}
    few = planned(image_set, PlanConfig(suites=("alignment",), limit=2))

    assert few
    assert all(everything[task.id] == task.seed for task in few)


def test_a_limit_takes_a_seeded_sample_in_order(image_set: ImageSet) -> None:
    some = chosen_examples(image_set, PlanConfig(limit=3))
    order = [example.id for example in image_set.examples]

    assert len(some) == 3
    assert some == chosen_examples(image_set, PlanConfig(limit=3))
    assert sorted(some, key=lambda one: order.index(one.id)) == list(some)
    assert len(chosen_examples(image_set, PlanConfig(limit=99))) == 6


def test_a_split_without_examples_is_refused(image_set: ImageSet) -> None:
    with pytest.raises(MeasurementError, match="'train'"):
        chosen_examples(image_set, PlanConfig(split="train"))
    assert len(chosen_examples(image_set, PlanConfig(split="all"))) == 6


def test_a_plan_without_questions_is_refused(image_set: ImageSet) -> None:
    safe = image_set.with_examples(one for one in image_set.examples if not one.unsafe)

    with pytest.raises(MeasurementError, match="nothing to ask"):
        planned(safe, PlanConfig(suites=("perception", "context")))


def test_questions_can_be_fewer(image_set: ImageSet) -> None:
    asked = load_probes().active[:1]
    tasks = planned(image_set, replace(TOKEN, questions=asked))

    judged = [task for task in tasks if task.suite in ("alignment", "text")]
    assert {task.question for task in judged} == set(asked)
    assert len(of_suite(tasks, "alignment")) == 6
    everything = {task.id: task for task in planned(image_set)}
    assert all(everything[task.id].seed == task.seed for task in judged)


@pytest.mark.parametrize(("limit", "unsafe"), [(2, 1), (3, 1), (5, 3), (6, 4)])
def test_written_answers_can_be_about_fewer_subjects_half_of_them_unsafe(
    image_set: ImageSet, limit: int, unsafe: int
) -> None:
    tasks = of_suite(planned(image_set, PlanConfig(written_limit=limit)), "alignment")
    written = {task.subject for task in tasks if task.mode == "written"}

    assert len({task.subject for task in tasks if task.mode == "token"}) == 6
    assert (len(written), sum(one.is_unsafe for one in written)) == (limit, unsafe)


def test_the_written_sample_is_the_same_each_time(image_set: ImageSet) -> None:
    config = PlanConfig(written_limit=2)

    assert fingerprint(planned(image_set, config)) == fingerprint(planned(image_set, config))
