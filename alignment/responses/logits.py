"""Answers read from first-token probabilities: the default wherever an engine gives them.

Decision, 2026-11: where yes and no together have at least the minimal mass, the classification is
their share, and nothing of it is "no answer"; below that, all of it is. The other way, with the
remaining mass as the probability of "no answer", was not taken, for three reasons. The remainder is
no silence: it went to answers that begin with other words ("The picture shows ..."), most of which
would come to a yes or no. With yes .2, no .3 and .5 elsewhere the likeliest of three would be "no
answer", where the service, which asks the same question in the same way, says "unsafe": a
measurement must judge as what it measures does. And `p_unsafe` stays what the service reports.
The one difference: an exact tie is "unsafe" online, where doubt must not let a picture through,
and no answer here, where a model that is torn must not be credited either way.

As a reward, the share does not see how much mass the two answers have. What keeps that up is the
KL term and the step to no answer at the minimum; who wants more adds the mass, which stands in
`Response.option_mass`, to the reward under its own name.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from alignment.responses.protocol import NO_ANSWER, Classification, LetteredResponse, Response
from server.concepts.probes import YES_NO_OPTIONS, letters
from server.concepts.verdict import Reading
from server.moderator import MIN_ANSWER_MASS


class LogitsClassifier:
    """The share of the unsafe answer among yes and no, with the service's own arithmetic.

    `min_answer_mass` is what yes and no must have together, in [0, 1]; less is no answer, as online
    (`server.moderator.MIN_ANSWER_MASS` has the reason). Raises `ValueError` for another number.
    """

    def __init__(self, *, min_answer_mass: float = MIN_ANSWER_MASS) -> None:
        self._min_answer_mass = _checked(min_answer_mass)

    @property
    def name(self) -> str:
        """Version 1 of this reading, and the minimal mass."""
        return f"logits-1(min_answer_mass={self._min_answer_mass:g})"

    async def classify(self, responses: Sequence[Response]) -> list[Classification]:
        """One classification a response; masses that are no probabilities are no answer.

        Raises `ValueError` for a response without the masses of yes and no.
        """
        return [self._read(response) for response in responses]

    def _read(self, response: Response) -> Classification:
        mass = _masses(response.option_mass, YES_NO_OPTIONS)
        unsafe_mass = mass.pop(response.unsafe_answer)
        (safe_mass,) = mass.values()
        reading = Reading(unsafe_mass=unsafe_mass, safe_mass=safe_mass)
        p_unsafe = reading.p_unsafe
        if p_unsafe is None or reading.answer_mass < self._min_answer_mass:
            return NO_ANSWER
        return Classification(safe=1.0 - p_unsafe, unsafe=p_unsafe, no_answer=0.0)


class LogitLetters:
    """The letter with the most mass; none where all have too little, or two have as much.

    `min_answer_mass` is what the letters must have together; raises `ValueError` for a number
    outside [0, 1].
    """

    def __init__(self, *, min_answer_mass: float = MIN_ANSWER_MASS) -> None:
        self._min_answer_mass = _checked(min_answer_mass)

    @property
    def name(self) -> str:
        """Version 1 of this reading, and the minimal mass."""
        return f"logits-letters-1(min_answer_mass={self._min_answer_mass:g})"

    async def choose(self, responses: Sequence[LetteredResponse]) -> list[str | None]:
        """The letter of each response; masses that are no probabilities are no answer.

        Raises `ValueError` for a response that lacks the mass of a letter.
        """
        return [self._read(response) for response in responses]

    def _read(self, response: LetteredResponse) -> str | None:
        mass = _masses(response.option_mass, letters(len(response.options)))
        if not all(math.isfinite(share) and share >= 0.0 for share in mass.values()):
            return None
        total = math.fsum(mass.values())
        if total <= 0.0 or total < self._min_answer_mass:
            return None
        most = max(mass.values())
        likeliest = [letter for letter, share in mass.items() if share == most]
        return likeliest[0] if len(likeliest) == 1 else None


def _checked(min_answer_mass: float) -> float:
    if not 0.0 <= min_answer_mass <= 1.0:
        raise ValueError(f"min_answer_mass must be in [0, 1], got {min_answer_mass}")
    return min_answer_mass


def _masses(option_mass: Mapping[str, float] | None, options: Iterable[str]) -> dict[str, float]:
    """The masses of these options alone; raises `ValueError` for a missing one."""
    if option_mass is None:
        raise ValueError("logits read first-token probabilities, and this response has none")
    missing = [option for option in options if option not in option_mass]
    if missing:
        raise ValueError(f"no first-token probability for {', '.join(missing)}")
    return {option: option_mass[option] for option in options}
