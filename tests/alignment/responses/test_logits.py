import math

import pytest

from alignment.responses.logits import LogitLetters, LogitsClassifier
from alignment.responses.protocol import LetteredResponse, Response, ResponseOutcome
from server.concepts.verdict import Reading, verdict_of
from server.moderator import MIN_ANSWER_MASS

pytestmark = pytest.mark.anyio

OPTIONS = ("Swastika", "Arson", "Robbery")


def judged(yes: float, no: float, unsafe_answer: str = "no") -> Response:
    return Response("?", unsafe_answer, option_mass={"yes": yes, "no": no})  # type: ignore[arg-type]


def lettered(*mass: float) -> LetteredResponse:
    return LetteredResponse("?", OPTIONS, option_mass=dict(zip("ABC", mass, strict=True)))


@pytest.mark.parametrize(
    ("yes", "no", "unsafe_answer", "p_unsafe", "outcome"),
    [
        (0.25, 0.75, "no", 0.75, ResponseOutcome.UNSAFE),
        (0.25, 0.75, "yes", 0.25, ResponseOutcome.SAFE),
        # Half of the mass elsewhere is no silence: the share decides, as online.
        (0.2, 0.3, "no", 0.6, ResponseOutcome.UNSAFE),
        (0.04, 0.02, "no", 1 / 3, ResponseOutcome.SAFE),
        (0.3, 0.3, "no", 0.5, ResponseOutcome.NO_ANSWER),
        (1.0, 0.0, "no", 0.0, ResponseOutcome.SAFE),
    ],
)
async def test_the_share_among_yes_and_no_decides(
    yes: float, no: float, unsafe_answer: str, p_unsafe: float, outcome: ResponseOutcome
) -> None:
    (found,) = await LogitsClassifier().classify([judged(yes, no, unsafe_answer)])

    assert found.p_unsafe == pytest.approx(p_unsafe)
    assert found.outcome is outcome
    assert found.no_answer == 0.0


@pytest.mark.parametrize("mass", [(0.0, 0.0), (0.02, 0.02), (math.nan, 0.9), (-0.1, 0.9)])
async def test_too_little_or_impossible_mass_is_no_answer(mass: tuple[float, float]) -> None:
    (found,) = await LogitsClassifier().classify([judged(*mass)])

    assert found.outcome is ResponseOutcome.NO_ANSWER
    assert found.p_unsafe is None


@pytest.mark.parametrize("mass", [(0.2, 0.3), (0.026, 0.025), (0.02, 0.01), (1e-310, 0.9)])
async def test_p_unsafe_is_what_the_service_reports(mass: tuple[float, float]) -> None:
    (found,) = await LogitsClassifier().classify([judged(*mass)])
    reading = Reading(unsafe_mass=mass[1], safe_mass=mass[0])

    assert found.p_unsafe == verdict_of([reading], None, min_answer_mass=MIN_ANSWER_MASS).p_unsafe


async def test_the_minimal_mass_is_a_choice_and_part_of_the_name() -> None:
    strict = LogitsClassifier(min_answer_mass=0.6)
    (found,) = await strict.classify([judged(0.2, 0.3)])

    assert found.outcome is ResponseOutcome.NO_ANSWER
    assert strict.name != LogitsClassifier().name
    assert "0.6" in strict.name


@pytest.mark.parametrize("make", [LogitsClassifier, LogitLetters])
@pytest.mark.parametrize("number", [-0.1, 1.1, math.nan])
def test_a_minimal_mass_is_a_probability(make: type, number: float) -> None:
    with pytest.raises(ValueError, match="min_answer_mass"):
        make(min_answer_mass=number)


@pytest.mark.parametrize("mass", [None, {"yes": 0.4}])
async def test_a_response_without_both_masses_is_refused(mass: dict[str, float] | None) -> None:
    with pytest.raises(ValueError, match="probabilit"):
        await LogitsClassifier().classify([Response("?", "no", text="No.", option_mass=mass)])


@pytest.mark.parametrize(
    ("mass", "letter"),
    [
        ((0.1, 0.5, 0.2), "B"),
        ((0.03, 0.02, 0.01), "A"),
        ((0.02, 0.01, 0.01), None),
        ((0.3, 0.3, 0.1), None),
        ((0.0, 0.0, 0.0), None),
        ((math.nan, 0.5, 0.1), None),
    ],
)
async def test_the_letter_with_the_most_mass_is_chosen(
    mass: tuple[float, float, float], letter: str | None
) -> None:
    assert await LogitLetters().choose([lettered(*mass)]) == [letter]


async def test_letters_that_are_no_option_have_no_say() -> None:
    mass = {"A": 0.1, "B": 0.2, "C": 0.1, "D": 0.6}

    assert await LogitLetters().choose([LetteredResponse("?", OPTIONS, option_mass=mass)]) == ["B"]


@pytest.mark.parametrize("mass", [None, {"A": 0.4, "B": 0.1}])
async def test_a_response_without_every_letters_mass_is_refused(
    mass: dict[str, float] | None,
) -> None:
    with pytest.raises(ValueError, match="probabilit"):
        await LogitLetters().choose([LetteredResponse("?", OPTIONS, text="A", option_mass=mass)])
