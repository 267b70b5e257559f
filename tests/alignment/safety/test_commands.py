"""`python -m alignment safety`: what can go wrong is one line."""

from pathlib import Path

import pytest

from alignment.__main__ import app
from alignment.checkpoint import UnfinishedRunError
from alignment.recipe_book.registry import UnknownRecipeError
from alignment.safety.evaluation import risk_figures
from alignment.safety.levels import risk_of_words
from server.concepts.risk import CLEAN, Risk
from server.vlm.attach.checkpoint import BaseFolderError


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (["stage2", "DATA", "--modules", "nowhere"], UnfinishedRunError, "no finished weights"),
        (["stage1", "DATA", "--recipe", "s2-lava"], UnknownRecipeError, "did you mean s2-llava"),
        (["attach", "DATA", "nowhere", "out"], UnfinishedRunError, "no finished weights"),
        (["attach", "DATA", "DATA/manifest.jsonl", "out"], BaseFolderError, "no config.json"),
    ],
)
def test_a_mistake_is_found_before_a_model_is_loaded(
    arguments: list[str], error: type[Exception], said: str, labelled_folder: Path
) -> None:
    given = [one.replace("DATA", str(labelled_folder)) for one in arguments]
    with pytest.raises(error, match=said) as raised:
        app(["safety", *given])
    assert "\n" not in str(raised.value)


def test_recipes_lists_those_of_the_stages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app(["recipes"])
    printed = capsys.readouterr().out
    assert "s2-llava" in printed
    assert "64+64" in printed
    assert "smolvlm-256m" in printed


def test_figures_are_printed_side_by_side_and_what_is_unknown_is_no_number(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from alignment.commands.safety import _say

    clean = risk_of_words(is_unsafe=False, category="", concept="")
    risk = Risk((1.0, 0.0, 0.0, 0.0), {"Hate": 0.0, CLEAN: 1.0})
    figures = risk_figures([clean], [risk])
    _say({"learned": figures, "text": figures}, pictures=1, split="test")
    printed = capsys.readouterr().out
    auc = next(line for line in printed.splitlines() if "1 - P(clean)" in line)
    assert auc.count("-") >= 3
    assert "1.000" in next(line for line in printed.splitlines() if "type right " in line)
