"""What a policy would say of pictures in one word, with its probability: a quick measurement.

The question, the reading and the least mass of yes and no are those of the service
(`server.moderator`); the whole measurement is that of `benchmarks capabilities`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from alignment.compare.verdicts import Verdict
from alignment.data.manifest import Example
from alignment.policy import Policy
from alignment.policy_vision import PictureReader
from alignment.prompts import AlignmentPrompt
from server.concepts.probes import YES_NO_OPTIONS, YesNoProbe
from server.concepts.verdict import Reading
from server.engine.answer_tokens import AnswerTokens
from server.moderator import MIN_ANSWER_MASS

_BATCH_SIZE = 32


def first_answers(
    policy: Policy, examples: Sequence[Example], pictures: PictureReader, probe: YesNoProbe
) -> list[Verdict]:
    """A verdict on each example's picture itself (view 0), by the first token's probabilities."""
    tokens = AnswerTokens(policy.base.tokenizer).of_all(YES_NO_OPTIONS)
    unsafe_ids, safe_ids = tokens[probe.unsafe_answer], tokens[probe.safe_answer]
    verdicts = []
    for start in range(0, len(examples), _BATCH_SIZE):
        asked = examples[start : start + _BATCH_SIZE]
        prompts = [_prompt(example, probe) for example in asked]
        seen: list[Tensor] = []

        def likeliest(logits: Tensor, seen: list[Tensor] = seen) -> Tensor:
            seen.append(logits.float().softmax(dim=-1).cpu())
            return logits.argmax(dim=-1)

        policy.generate(policy.encode(prompts, pictures), likeliest, max_new_tokens=1)
        unsafe_mass = seen[0][:, torch.tensor(unsafe_ids)].sum(dim=-1).tolist()
        safe_mass = seen[0][:, torch.tensor(safe_ids)].sum(dim=-1).tolist()
        verdicts += [
            _verdict(example, Reading(unsafe_mass=unsafe, safe_mass=safe))
            for example, unsafe, safe in zip(asked, unsafe_mass, safe_mass, strict=True)
        ]
    return verdicts


def _prompt(example: Example, probe: YesNoProbe) -> AlignmentPrompt:
    return AlignmentPrompt(
        id=example.id,
        text=probe.question,
        example_id=example.id,
        right="unsafe" if example.unsafe else "safe",
        unsafe_answer=probe.unsafe_answer,
        view=0,
    )


def _verdict(example: Example, reading: Reading) -> Verdict:
    p_unsafe = reading.p_unsafe if reading.answer_mass >= MIN_ANSWER_MASS else None
    says_unsafe = None if p_unsafe is None else p_unsafe >= 0.5
    return Verdict(is_unsafe=example.unsafe, says_unsafe=says_unsafe, p_unsafe=p_unsafe)
