from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from alignment.data.manifest import ImageSet
from alignment.data.open_set import read_open_set
from benchmarks.capabilities.general.builtin import builtin_tasks
from benchmarks.capabilities.general.object_questions import object_questions
from benchmarks.errors import MeasurementError

MakeSet = Callable[[list[dict[str, Any]]], ImageSet]

NAMES = ("horse", "key", "bed", "spoon", "harp", "door", "deer", "rose")


def test_both_modes_ask_the_same_of_the_open_set() -> None:
    tasks = builtin_tasks(read_open_set(), modes=("token", "written"), seed=2024)

    by_mode = {
        mode: [(one.subject.id, one.question, one.prompt, one.right) for one in tasks
               if one.mode == mode]
        for mode in ("token", "written")
    }  # fmt: skip
    assert by_mode["token"] == by_mode["written"]
    assert len(tasks) == 198
    assert len({task.id for task in tasks}) == len(tasks)
    assert len({task.seed for task in tasks}) == len(tasks)


@pytest.mark.parametrize("mode", ["token", "written"])
def test_one_mode_alone_is_asked_when_only_it_is_wanted(mode: Any) -> None:
    tasks = builtin_tasks(read_open_set(), modes=(mode,), seed=2024)

    assert {task.mode for task in tasks} == {mode}


def test_letters_and_yes_and_no_are_balanced_on_the_open_set() -> None:
    tasks = builtin_tasks(read_open_set(), modes=("token",), seed=2024)
    counted = Counter((task.subtask, task.right) for task in tasks)

    assert [counted["objects", letter] for letter in "ABCD"] == [6, 6, 6, 6]
    assert counted["presence", "yes"] == counted["presence", "no"] == 10


def test_only_safe_things_are_asked_about(make_image_set: MakeSet) -> None:
    image_set = make_image_set(
        [
            *({"concept": name} for name in NAMES),
            {"concept": "Swastika", "label": "Unsafe", "category": "Hate"},
        ]
    )

    items = list(object_questions(image_set, seed=1))

    words = " ".join(item.prompt for item in items)
    assert "Swastika" not in words
    assert {item.subject.concept for item in items} == set(NAMES)


def test_the_right_name_is_the_pictures_own(make_image_set: MakeSet) -> None:
    image_set = make_image_set([{"concept": name} for name in NAMES])
    concepts = {example.id: example.concept for example in image_set.examples}

    for item in object_questions(image_set, seed=1):
        name = concepts[item.subject.id]
        if item.subtask == "objects":
            assert item.names[item.options.index(item.right)] == name
        else:
            assert (f'"{name}"' in item.prompt) == (item.right == "yes")


def test_a_name_that_fits_too_is_no_wrong_answer(make_image_set: MakeSet) -> None:
    image_set = make_image_set(
        [{"concept": name} for name in ("turtle", "tortoise", "coconuts", "fruits", *NAMES)]
    )

    for seed in range(20):
        for item in object_questions(image_set, seed):
            for pair in ({"turtle", "tortoise"}, {"coconuts", "fruits"}):
                if item.subtask == "objects" and item.subject.concept in pair:
                    assert not pair <= set(item.names)


def test_one_picture_a_concept_is_asked_about_and_its_group_is_kept(
    make_image_set: MakeSet,
) -> None:
    image_set = make_image_set(
        [{"concept": name, "group": f"g-{name}"} for name in NAMES for _ in range(3)]
    )

    items = [item for item in object_questions(image_set, seed=1) if item.subtask == "objects"]

    assert Counter(item.subject.concept for item in items) == dict.fromkeys(NAMES, 1)
    assert all(item.subject.group == f"group g-{item.subject.concept}" for item in items)


def test_pictures_are_opened_from_the_set(make_image_set: MakeSet) -> None:
    image_set = make_image_set([{"concept": name} for name in NAMES])
    item = next(object_questions(image_set, seed=1))

    assert item.open_image().tobytes() == Image.new("RGB", (8, 8), "red").tobytes()


def test_a_set_with_too_few_things_is_refused(make_image_set: MakeSet) -> None:
    image_set = make_image_set([{"concept": name} for name in NAMES[:3]])

    with pytest.raises(MeasurementError, match="safe things to tell apart"):
        builtin_tasks(image_set, modes=("token",), seed=1)


def test_a_set_with_nothing_safe_is_refused(make_image_set: MakeSet) -> None:
    image_set = make_image_set([{"concept": "Swastika", "label": "Unsafe", "category": "Hate"}])

    with pytest.raises(MeasurementError, match="safe things to tell apart"):
        builtin_tasks(image_set, modes=("token",), seed=1)
