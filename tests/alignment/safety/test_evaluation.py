"""Figures of readings, by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from alignment.safety.evaluation import risk_figures
from alignment.safety.guarded import GuardedReference
from alignment.safety.guarding import UnfitModulesError, guard_carried
from alignment.safety.levels import RiskLabel, risk_of_words
from alignment.safety.picture_draws import validation_draws
from server.concepts.risk import CLEAN, Risk
from server.vlm.safety_shape import risk_types


def label(category: str = "") -> RiskLabel:
    return risk_of_words(is_unsafe=bool(category), category=category, concept="")


def risk(level: int, type_: str, sure: float = 0.9) -> Risk:
    levels = [(1 - sure) / 3] * 4
    levels[level] = sure
    others = (1 - sure) / (len(risk_types()) - 1)
    types = dict.fromkeys(risk_types(), others) | {type_: sure}
    return Risk((levels[0], levels[1], levels[2], levels[3]), types)


def test_figures_count_levels_types_and_order() -> None:
    labels = [label("Hate"), label("Violence"), label("Shocking"), label(), label(), label()]
    risks = [
        risk(3, "Hate"),
        risk(1, "Illegal activity"),
        risk(0, CLEAN, sure=0.5),
        risk(0, CLEAN),
        risk(0, CLEAN),
        risk(2, "Hate", sure=0.6),
    ]
    found = risk_figures(labels, risks)
    assert found.examples == 6
    assert found.level_accuracy == pytest.approx(3 / 6)
    assert found.level_balanced == pytest.approx((1 / 2 + 0 + 2 / 3) / 3)
    assert found.level_error == pytest.approx((0 + 2 + 2 + 0 + 0 + 2) / 6)
    assert found.type_accuracy == pytest.approx(3 / 6)
    assert found.type_balanced == pytest.approx((1 + 0 + 0 + 2 / 3) / 4)
    # For S2 violence is illegal, so one more is right.
    assert found.s2_type_accuracy == pytest.approx(4 / 6)
    # Of nine pairs one is in the wrong order: the shocking one said clean under the false alarm.
    assert found.auc == pytest.approx(8 / 9)
    assert found.by_level == {"0": pytest.approx(2 / 3), "2": 0.0, "3": pytest.approx(1 / 2)}
    assert found.by_type["Hate"] == 1.0


def test_what_can_not_be_computed_is_none() -> None:
    none = risk_figures([], [])
    assert none.examples == 0
    assert (none.level_accuracy, none.type_accuracy, none.auc) == (None, None, None)
    assert risk_figures([label()], [risk(0, CLEAN)]).auc is None


def test_an_unknown_type_counts_for_the_order_alone() -> None:
    unknown = risk_of_words(is_unsafe=True, category="", concept="")
    found = risk_figures([unknown, label()], [risk(2, "Hate"), risk(0, CLEAN)])
    assert found.auc == 1.0
    assert found.type_accuracy == 1.0
    assert sum(len(group) for group in (found.by_type, found.by_level)) == 2


def test_a_checkpoint_is_read_by_the_modules_that_it_carries(
    make_guarded: Callable[..., GuardedReference],
    small_stage1: Callable[..., Any],
    images: Any,
) -> None:
    made = make_guarded(small_stage1())
    draws = validation_draws(images.examples[:2])
    carried = guard_carried(made.base, pictures=made._pictures, length_multiple=8)

    with torch.no_grad():
        assert torch.equal(carried.read(draws).type, made.read(draws).type)
    del made.base.model.safety
    with pytest.raises(UnfitModulesError, match="it has none of its own"):
        guard_carried(made.base, pictures=made._pictures, length_multiple=8)
