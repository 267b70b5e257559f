"""Which prompts a step asks: a function of (seed, step), so a killed run goes on unchanged.

After S1, every train picture goes with one of the five judgement probes drawn at random, anew in
each epoch. Beyond S1: words alone are asked by the probes' text twins, so that judging words is
kept while judging pictures is learnt, and general questions about pictures, which have no right
answer here, keep general ability by their KL.

Safe and unsafe take turns: half of the picture prompts of a step each (an odd one goes to either by
turns). Each kind has its own endless row of epochs; in an epoch every picture of it comes once, the
styles (photo, icon, ...) spread evenly, so that style never tells the label of a batch.
"""

import hashlib
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from PIL import Image

from alignment.augment import view_of
from alignment.data.lookalikes import lookalikes_of
from alignment.data.manifest import Example, ImageSet
from alignment.data.words import words_of
from alignment.prompts import AlignmentPrompt
from alignment.tasks import CAPTION_REQUESTS
from server.concepts.probes import ProbeSet, load_probes, without_format
from server.concepts.taxonomy import load_taxonomy
from server.errors import SightwardError

_OPTIONS = 4
_PERCEPTION_SHARE = 0.5


class OneLabelError(SightwardError):
    """The train split lacks safe or unsafe pictures, so always saying the same would be right."""

    def __init__(self, name: str, missing: Literal["safe", "unsafe"]) -> None:
        super().__init__(
            f"the data set {name or 'given'} has no {missing} picture in its train split: "
            "alignment needs both labels"
        )
        self.name = name
        self.missing = missing


class NoTrainSplitError(SightwardError):
    """A data set without splits, or without a train split: nothing may be trained on."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the data set {name or 'given'} has no train split; make splits first")
        self.name = name


@dataclass(frozen=True, slots=True)
class PromptMix:
    """How many prompts of a kind a step has: judged pictures, judged words, general questions.

    `open_share` of the judgements leave the form of the answer open, as S1's questions do; the
    others end as those that are served: "Answer yes or no."
    """

    pictures: int
    words: int = 0
    general: int = 0
    open_share: float = 0.0

    def __post_init__(self) -> None:
        if (
            min(self.pictures, self.words, self.general) < 0
            or self.total < 1
            or not 0.0 <= self.open_share <= 1.0
        ):
            raise ValueError(f"no mix of prompts: {self}")

    @property
    def total(self) -> int:
        """Prompts in a step."""
        return self.pictures + self.words + self.general


class AlignmentPrompts:
    """The prompts of any step, from the train split of `images`.

    Pictures are shown in augmented views 0 to `views` - 1 (see `alignment.augment`). Raises
    NoTrainSplitError and OneLabelError.
    """

    def __init__(
        self,
        images: ImageSet,
        mix: PromptMix,
        *,
        seed: int,
        views: int = 1,
        probes: ProbeSet | None = None,
    ) -> None:
        train = images.split("train")
        if not train:
            raise NoTrainSplitError(images.name)
        self._pictures = {
            "unsafe": [example for example in train if example.unsafe],
            "safe": [example for example in train if not example.unsafe],
        }
        if not self._pictures["safe"]:
            raise OneLabelError(images.name, "safe")
        if not self._pictures["unsafe"]:
            raise OneLabelError(images.name, "unsafe")
        self._mix, self._seed, self._views = mix, seed, views
        self._probes = load_probes() if probes is None else probes
        # Names of every concept, shown or not: words cost no picture.
        subjects = words_of(train, all_concepts=True)
        self._words = {
            "unsafe": [subject.text for subject in subjects if subject.is_unsafe],
            "safe": [subject.text for subject in subjects if not subject.is_unsafe]
            or sorted({one.caption for one in self._pictures["safe"] if one.caption}),
        }
        if mix.words and not self._words["safe"]:
            raise OneLabelError(f"{images.name} (in words)", "safe")
        self._everything = list(train)
        # A picture's row of epochs goes on over steps; two epochs meet in one batch at most.
        self._epoch = lru_cache(maxsize=8)(self._order)

    def of_step(self, step: int) -> tuple[AlignmentPrompt, ...]:
        """The step's prompts, in an order drawn for it; `id`s are unique within it where a data
        set is larger than a step."""
        mix, rng = self._mix, self._rng("step", step)
        prompts = [
            self._about_picture(*self._next(label, place))
            for label, place in _turns(step, mix.pictures)
        ]
        prompts += [self._about_words(label, rng) for label, _ in _turns(step, mix.words)]
        first = step * mix.general
        prompts += [
            self._general(*self._next("any", place), rng)
            for place in range(first, first + mix.general)
        ]
        rng.shuffle(prompts)
        return tuple(prompts)

    def _about_picture(self, example: Example, epoch: int) -> AlignmentPrompt:
        rng = self._rng("picture", epoch, example.id)
        probe, view = rng.choice(self._probes.judgements), rng.randrange(self._views)
        form, question = self._form(probe.question, rng)
        return AlignmentPrompt(
            id=f"{example.id}:{view}:{probe.id}{form}",
            text=question,
            example_id=example.id,
            right="unsafe" if example.unsafe else "safe",
            unsafe_answer=probe.unsafe_answer,
            view=view,
        )

    def _about_words(self, label: Literal["safe", "unsafe"], rng: random.Random) -> AlignmentPrompt:
        text = rng.choice(self._words[label])
        # Names come in any case from users; a taxonomy's capitals must not give them away.
        text = rng.choice((text, text.lower()))
        probe = rng.choice(self._probes.judgements)
        form, question = self._form(probe.about_text(text), rng)
        return AlignmentPrompt(
            id=f"words:{text}:{probe.id}{form}",
            text=question,
            example_id=None,
            right=label,
            unsafe_answer=probe.unsafe_answer,
        )

    def _form(self, question: str, rng: random.Random) -> tuple[str, str]:
        """The question as it is served or as S1 puts it, and what its id says of that."""
        if rng.random() < self._mix.open_share:
            return ":open", without_format(question)
        return "", question

    def _general(self, example: Example, epoch: int, rng: random.Random) -> AlignmentPrompt:
        view = self._rng("general", epoch, example.id).randrange(self._views)
        kind, text = "caption", rng.choice(CAPTION_REQUESTS)
        if example.concept and rng.random() < _PERCEPTION_SHARE:
            kind, text = "perception", self._perception(example, rng)
        return AlignmentPrompt(
            id=f"{example.id}:{view}:{kind}", text=text, example_id=example.id, view=view
        )

    def _perception(self, example: Example, rng: random.Random) -> str:
        unfair = {example.concept} | (lookalikes_of(example.concept) if example.unsafe else set())
        names = [name for name in load_taxonomy().concept_names if name not in unfair]
        options = [example.concept, *rng.sample(names, _OPTIONS - 1)]
        rng.shuffle(options)
        return self._probes.perception.ask(options)

    def _next(self, kind: str, place: int) -> tuple[Example, int]:
        """What stands at `place` of a kind's endless row, and in which epoch that is."""
        pool = self._pictures.get(kind, self._everything)
        epoch, at = divmod(place, len(pool))
        return pool[self._epoch(kind, epoch)[at]], epoch

    def _order(self, kind: str, epoch: int) -> tuple[int, ...]:
        """An epoch's order of a kind's pictures, each style spread evenly over it."""
        rng = self._rng("epoch", kind, epoch)
        pool = self._pictures.get(kind, self._everything)
        by_style: defaultdict[str, list[int]] = defaultdict(list)
        for number, example in enumerate(pool):
            by_style[example.style].append(number)
        placed: list[tuple[float, int]] = []
        for style in sorted(by_style):
            numbers = by_style[style]
            rng.shuffle(numbers)
            placed += [
                ((rank + rng.random()) / len(numbers), number)
                for rank, number in enumerate(numbers)
            ]
        return tuple(number for _, number in sorted(placed))

    def _rng(self, *key: object) -> random.Random:
        digest = hashlib.sha256(repr((self._seed, *key)).encode()).digest()
        return random.Random(digest)  # noqa: S311 - sampling


class ViewReader:
    """Gives augmented views of an image set as pictures, for any model: a `PictureReader`."""

    def __init__(self, images: ImageSet, *, seed: int) -> None:
        self._images, self._seed = images, seed
        self._example_of = {example.id: example for example in images.examples}

    def __call__(self, example_id: str, view: int) -> Image.Image:
        """A view of an example; the same as `alignment.features` caches of it with this seed."""
        example = self._example_of[example_id]
        return view_of(
            self._images.open(example),
            style=example.style,
            key=example.id,
            view=view,
            seed=self._seed,
        )


def _turns(step: int, count: int) -> Sequence[tuple[Literal["safe", "unsafe"], int]]:
    """The labels of a step's `count` prompts, by turns over all steps, and their places in each
    label's own row."""
    first = step * count
    return [
        ("unsafe" if turn % 2 == 0 else "safe", turn // 2) for turn in range(first, first + count)
    ]
