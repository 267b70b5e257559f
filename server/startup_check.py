"""What a model that has just been started is tried with before anyone relies on it.

Two drawn pictures, one safe and one unsafe. A model that loads may still be unfit: weights that do
not belong to its code, a broken kernel, questions that it can't answer with one word.
"""

from collections.abc import Awaitable, Callable

from PIL import Image, ImageDraw

from server.concepts.verdict import Outcome, Verdict
from server.errors import EngineStartError
from server.moderator import Moderator

StartupCheck = Callable[[Moderator], Awaitable[None]]
"""Raises `EngineStartError` for a model that starts and doesn't judge as it should."""

_SIDE_PX = 224


async def check_judged_right(moderator: Moderator) -> None:
    """Raise `EngineStartError` unless the safe picture is found safe and the unsafe one unsafe."""
    for expected, picture in ((Outcome.SAFE, safe_picture()), (Outcome.UNSAFE, unsafe_picture())):
        verdict = await _verdict(moderator, picture)
        if verdict.outcome is not expected:
            raise EngineStartError(
                f"the model finds a drawn picture that is {expected.value} {_said(verdict)}"
            )


async def check_readable(moderator: Moderator) -> None:
    """Raise `EngineStartError` unless the model gives a verdict on at least one of the pictures."""
    verdicts = [await _verdict(moderator, one) for one in (safe_picture(), unsafe_picture())]
    if all(verdict.outcome is Outcome.UNDETERMINED for verdict in verdicts):
        raise EngineStartError(
            "the model does not answer the questions it is asked: it gives yes and no "
            f"{max(verdict.answer_mass for verdict in verdicts):.3f} of all probability"
        )


def safe_picture() -> Image.Image:
    """A house in a meadow under a clear sky, RGB."""
    picture = Image.new("RGB", (_SIDE_PX, _SIDE_PX), (150, 200, 250))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 140, _SIDE_PX, _SIDE_PX), fill=(90, 170, 80))
    draw.ellipse((150, 20, 200, 70), fill=(255, 220, 80))
    draw.rectangle((40, 100, 100, 160), fill=(230, 210, 180))
    draw.polygon([(30, 100), (70, 60), (110, 100)], fill=(180, 80, 60))
    return picture


def unsafe_picture() -> Image.Image:
    """A pistol on a plain ground, RGB."""
    picture = Image.new("RGB", (_SIDE_PX, _SIDE_PX), (235, 235, 235))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((30, 70, 195, 105), fill=(25, 25, 28))
    draw.rectangle((30, 62, 40, 72), fill=(25, 25, 28))
    draw.polygon([(150, 105), (195, 105), (205, 180), (165, 185)], fill=(40, 30, 25))
    draw.arc((110, 95, 155, 140), 0, 180, fill=(25, 25, 28), width=7)
    return picture


async def _verdict(moderator: Moderator, picture: Image.Image) -> Verdict:
    return (await moderator.judge_image(picture)).verdict


def _said(verdict: Verdict) -> str:
    if verdict.p_unsafe is None:
        return verdict.outcome.value
    return f"{verdict.outcome.value} (P(unsafe) = {verdict.p_unsafe:.2f})"
