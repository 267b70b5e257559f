"""What the built-in questions share: how letters are balanced and how one question is put.

Every letter is right equally often and half of the yes/no questions are answered by yes, so that a
model that always says the same gains nothing.
"""

import random
from collections.abc import Callable, Sequence

from PIL import Image

from benchmarks.capabilities.general.items import Item, lettered_prompt
from benchmarks.capabilities.tasks import Subject
from server.concepts.probes import YES_NO_OPTIONS, letters

BENCHMARK = "builtin"

REVISION = "1"
"""Changes with any wording or drawing: figures of two revisions can't be compared."""


def chance_for(seed: int, subtask: str) -> random.Random:
    """A generator of each subtask's own, so that one can grow without moving the others."""
    return random.Random(f"{BENCHMARK}/{REVISION}/{subtask}/{seed}")  # noqa: S311 - nothing secret


def balanced(count: int, places: int, chance: random.Random) -> list[int]:
    """`count` numbers below `places` in random order, each equally often, give or take one."""
    spread = [number % places for number in range(count)]
    chance.shuffle(spread)
    return spread


def lettered(
    subtask: str,
    subject: Subject,
    question: str,
    *,
    right: str,
    wrong: Sequence[str],
    place: int,
    open_image: Callable[[], Image.Image],
) -> Item:
    """A question with `right` behind the letter at `place` and `wrong` behind the others."""
    names = (*wrong[:place], right, *wrong[place:])
    options = letters(len(names))
    return Item(
        benchmark=BENCHMARK,
        subtask=subtask,
        subject=subject,
        question=f"{BENCHMARK}-{subtask}",
        kind="lettered",
        prompt=lettered_prompt(question, names),
        right=options[place],
        open_image=open_image,
        options=options,
        names=names,
    )


def yes_no(
    subtask: str,
    subject: Subject,
    question: str,
    *,
    is_so: bool,
    open_image: Callable[[], Image.Image],
) -> Item:
    """A question that "yes" answers where `is_so`, and "no" where not."""
    return Item(
        benchmark=BENCHMARK,
        subtask=subtask,
        subject=subject,
        question=f"{BENCHMARK}-{subtask}",
        kind="yes-no",
        prompt=f"{question} Answer yes or no.",
        right="yes" if is_so else "no",
        open_image=open_image,
        options=YES_NO_OPTIONS,
    )
