"""Verdicts by one token: what the logits say, read as the service reads them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from alignment.data.manifest import Example
from alignment.first_answers import first_answers
from alignment.policy import Policy
from alignment.policy_config import LoraShape, PolicyConfig
from server.concepts.probes import load_probes

CONFIG = PolicyConfig(policy=LoraShape(r=2, alpha=4), value=LoraShape(r=2, alpha=4))
EXAMPLES = tuple(
    Example(id=f"p{number}", file="x", label=label, concept=concept)
    for number, (label, concept) in enumerate([("Unsafe", "Arson"), ("Safe", "boat")] * 20)
)
PROBE = load_probes().judgements[0]


@pytest.fixture
def policy(make_base: Callable[..., Any]) -> Policy:
    return Policy(make_base("reference"), CONFIG)


def features(example_id: str, view: int) -> Tensor:
    assert view == 0
    generator = torch.Generator().manual_seed(int(example_id.removeprefix("p")))
    return torch.randn(4, 1280, generator=generator)


def saying(policy: Policy, words: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the policy give `words` these logits, and every other token next to nothing."""

    def generate(encoded: Any, pick: Callable[[Tensor], Tensor], *, max_new_tokens: int) -> None:
        assert max_new_tokens == 1
        logits = torch.full((len(encoded), len(policy.base.tokenizer)), -100.0)
        for word, logit in words.items():
            logits[:, policy.base.tokenizer.encode(word, add_special_tokens=False)[0]] = logit
        pick(logits)

    monkeypatch.setattr(policy, "generate", generate)


def test_there_is_a_verdict_on_every_example_in_order(policy: Policy) -> None:
    verdicts = first_answers(policy, EXAMPLES, features, PROBE)

    assert [one.is_unsafe for one in verdicts] == [one.unsafe for one in EXAMPLES]


def test_p_unsafe_is_the_share_of_the_unsafe_answer(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(policy, {PROBE.unsafe_answer: 1.0, PROBE.safe_answer: 0.0}, monkeypatch)
    (verdict, *_) = first_answers(policy, EXAMPLES[:2], features, PROBE)

    assert verdict.p_unsafe == pytest.approx(torch.tensor(1.0).sigmoid().item(), abs=1e-5)
    assert verdict.says_unsafe is True


def test_spellings_of_an_answer_are_summed(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    unsafe = PROBE.unsafe_answer
    saying(policy, {unsafe: 0.0, unsafe.capitalize(): 0.0, PROBE.safe_answer: 0.0}, monkeypatch)
    (verdict, *_) = first_answers(policy, EXAMPLES[:2], features, PROBE)

    assert verdict.p_unsafe == pytest.approx(2 / 3, abs=1e-5)


def test_other_words_are_no_answer(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    saying(policy, {"picture": 20.0, "yes": 0.0, "no": 0.0}, monkeypatch)
    (verdict, *_) = first_answers(policy, EXAMPLES[:2], features, PROBE)

    assert (verdict.says_unsafe, verdict.p_unsafe) == (None, None)
