"""Perception questions: which of four concepts does an unsafe picture show (S1)?

The right concept stands beside three distractors, other concepts of the taxonomy that could not
rightly name the picture too (`alignment.data.lookalikes`; S1 takes any other). Decisions:

- *Distractors* depend on the seed, the example's id and its concept alone: every fair concept gets
  a hash, the three lowest are taken. Neither other examples nor their order move them.
- *Letters* are balanced over the set: each of A to D is right equally often, give or take one. Each
  example prefers a letter by its own hash; only as many as balance needs move to another, those
  with the highest hashes. So a larger set keeps most letters of a smaller one (98.6% of 1,000 when
  500 are added), and the order of the examples moves none.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from alignment.data.lookalikes import lookalikes_of
from alignment.data.manifest import Example
from server.concepts.probes import LetteredProbe, letters, load_probes
from server.concepts.taxonomy import load_taxonomy
from server.errors import SightwardError

OPTION_COUNT = 4


class RepeatedExampleError(SightwardError):
    """Two examples share an id, so their questions could not be told apart."""

    def __init__(self, example_id: str) -> None:
        super().__init__(f"example id {example_id!r} occurs more than once")
        self.example_id = example_id


@dataclass(frozen=True, slots=True)
class PerceptionQuestion:
    """One lettered question about one picture.

    `names` are the four concepts in the order of their letters; `right` is one of those letters.
    """

    example_id: str
    concept: str
    prompt: str
    names: tuple[str, ...]
    right: str


def perception_questions(
    examples: Iterable[Example], *, seed: int, probe: LetteredProbe | None = None
) -> list[PerceptionQuestion]:
    """One question for every unsafe example that names a concept, in the examples' order.

    `probe` gives the wording (default: the shipped perception probe). Raises
    `UnknownConceptError` for a concept outside the taxonomy and `RepeatedExampleError`.
    """
    probe = load_probes().perception if probe is None else probe
    asked: dict[str, Example] = {}
    for example in examples:
        if example.unsafe and example.concept:
            if example.id in asked:
                raise RepeatedExampleError(example.id)
            asked[example.id] = example
    places = _right_places(list(asked), seed)
    questions = []
    for example in asked.values():
        names = list(distractors(example.id, example.concept, seed=seed))
        names.insert(places[example.id], example.concept)
        letter = letters(OPTION_COUNT)[places[example.id]]
        questions.append(
            PerceptionQuestion(example.id, example.concept, probe.ask(names), tuple(names), letter)
        )
    return questions


def distractors(example_id: str, concept: str, *, seed: int) -> tuple[str, ...]:
    """The three wrong names for an example. Raises `UnknownConceptError`."""
    unfair = lookalikes_of(concept) | {concept}
    fair = [name for name in load_taxonomy().concept_names if name not in unfair]
    fair.sort(key=lambda name: _hash("distractor", seed, example_id, name))
    return tuple(fair[: OPTION_COUNT - 1])


def _right_places(ids: Sequence[str], seed: int) -> dict[str, int]:
    """Where each example's right name stands, 0 to 3; see the module's rule on letters."""
    wishes: list[list[str]] = [[] for _ in range(OPTION_COUNT)]
    for example_id in sorted(ids, key=lambda one: _hash("letter", seed, one)):
        wishes[_hash("letter", seed, example_id) % OPTION_COUNT].append(example_id)
    each, extra = divmod(len(ids), OPTION_COUNT)
    # The places asked for most get the one that is left over: then the fewest have to move.
    popular = sorted(range(OPTION_COUNT), key=lambda place: (-len(wishes[place]), place))
    room = {place: each + (rank < extra) for rank, place in enumerate(popular)}
    moved = [one for place, ids_here in enumerate(wishes) for one in ids_here[room[place] :]]
    free = [place for place, here in enumerate(wishes) for _ in range(room[place] - len(here))]
    kept = {one: place for place, here in enumerate(wishes) for one in here[: room[place]]}
    return kept | dict(zip(moved, free, strict=True))


def _hash(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")
