import pytest

from alignment.responses.protocol import LetteredResponse
from alignment.responses.rules import RuleLetters

pytestmark = pytest.mark.anyio

OPTIONS = ("Swastika", "Arson", "Robbery", "Celtic Cross")
LIST = "A. Swastika\nB. Arson\nC. Robbery\nD. Celtic Cross"


def chosen(text: str, options: tuple[str, ...] = OPTIONS) -> str | None:
    return RuleLetters().read(LetteredResponse("?", options, text=text))


@pytest.mark.parametrize("text", ["B", "b", "B.", "(B)", "**B**", "Option B: Arson", "B. Arson"])
def test_a_letter_in_any_dress_is_read(text: str) -> None:
    assert chosen(text) == "B"


def test_an_article_is_no_letter() -> None:
    assert chosen("A picture of a house.") is None
    assert chosen("A Celtic cross.") == "D"


@pytest.mark.parametrize("text", ["A or D", "A, B", "Arson and robbery.", LIST])
def test_several_letters_are_no_answer(text: str) -> None:
    assert chosen(text) is None


def test_a_choice_after_the_restated_list_counts() -> None:
    assert chosen(f"{LIST}\n\nThe answer is C.") == "C"


def test_a_denied_option_is_not_chosen() -> None:
    assert chosen("It is not a swastika but a Celtic cross.") == "D"
    assert chosen("Not A, not B: the answer is C.") == "C"


def test_a_letter_beside_another_options_name_is_no_answer() -> None:
    assert chosen("A. Arson") is None


def test_a_letter_without_an_option_is_no_answer() -> None:
    assert chosen("E") is None
    assert chosen("D", OPTIONS[:3]) is None


def test_none_of_these_is_an_answer_where_it_is_an_option() -> None:
    assert chosen("None of the above.") is None
    assert chosen("None of the above.", (*OPTIONS, "none of these")) == "E"


def test_the_longer_of_two_names_is_meant() -> None:
    options = ("Cross", "Celtic Cross")

    assert chosen("It shows a Celtic cross.", options) == "B"


async def test_a_response_without_a_text_is_refused() -> None:
    with pytest.raises(ValueError, match="text"):
        await RuleLetters().choose([LetteredResponse("?", OPTIONS, option_mass={"A": 1.0})])
