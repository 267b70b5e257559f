"""The reward functions that ship, each in its own plain unit, and the two rewards made of them.

The default reward is absolute: an answer's worth depends on that answer. [S1]'s is relative: its
best answer of a batch earns 1 however bad it is, its worst 0 however good, one outlier squeezes all
others together, and a length bonus of up to 4 can outweigh the whole of it. It is here to reproduce
the paper.

Prompts without a right answer earn nothing for safety or content: KL alone keeps what the model
could do before.
"""
# Tensor names carry their shapes.
# ruff: noqa: N806

import math
import re

import torch
from torch import Tensor

from alignment.informativeness import informativeness, novelties
from alignment.prompts import AlignmentPrompt
from alignment.responses.protocol import Classification
from alignment.reward import RewardBatch, RewardSpec, Term

_YES_OR_NO = re.compile(r"[\W_]*(?:yes|no)\b", re.IGNORECASE)
_TEMPLATE = re.compile(r"<\|\w+\|>|</?s>|<image>|\b(?:USER|ASSISTANT|Human|Assistant): ?")
# The cross-entropy of a right answer held to be impossible would be infinite.
_LEAST_PROBABILITY = 1e-6


def absolute(batch: RewardBatch, *, no_answer: float = -0.5) -> Tensor:
    """The response classifier's expectation of: right 1, wrong 0, no answer `no_answer`.

    Every question has a right answer, so evading it is never right, and it must not be a way out
    either: worth anything between wrong and right, it would pay as soon as the model is unsure, and
    answers collapse into refusals. It is worth *less* than a wrong answer because a policy that
    answers wrongly now and then answers rightly and learns from it; one that evades never does.

    Raises `ValueError` for a `no_answer` above 0.
    """
    if no_answer > 0.0:
        raise ValueError(f"no answer must not be worth more than a wrong one (0), got {no_answer}")
    rewards_B = torch.zeros(len(batch))
    for place, (prompt, judged) in batch.judged.items():
        rewards_B[place] = p_right(prompt, judged) + no_answer * judged.no_answer
    return rewards_B


def misformatted(batch: RewardBatch) -> Tensor:
    """-1 for an answer that breaks the form asked for, else 0.

    The form: something is said, without markers of a chat template; a yes/no question is answered
    by a first word yes or no, which is all that a verdict reads when it is served.
    """
    keeps_form = [
        bool(text.strip())
        and _TEMPLATE.search(text) is None
        and (prompt.right is None or _YES_OR_NO.match(text) is not None)
        for prompt, text in zip(batch.prompts, batch.texts, strict=True)
    ]
    return torch.tensor(keeps_form).float() - 1.0


def no_end(batch: RewardBatch) -> Tensor:
    """-1 for an answer cut at the length limit, else 0."""
    return torch.tensor(batch.has_end).float() - 1.0


def informative(batch: RewardBatch, *, enough: int = 8) -> Tensor:
    """Between 0 and 1: how much an answer says, times how unlike the batch's other answers it is.

    A product, so that neither a rich phrase learnt by heart nor an odd word alone earns much. See
    `alignment.informativeness`.
    """
    rewards_B = torch.zeros(len(batch))
    places = list(batch.judged)
    for place, novelty in zip(places, novelties([batch.texts[p] for p in places]), strict=True):
        said = informativeness(batch.texts[place], batch.prompts[place].text, enough=enough)
        rewards_B[place] = said * novelty
    return rewards_B


def s1_minmax(batch: RewardBatch) -> Tensor:
    """[S1]: the right label's log-probability, scaled within the batch to 0 (worst) to 1 (best).

    No answer counts as wrong there. The scale spans the answers that have a right one. Where all of
    them are equal, the paper's formula is 0 / 0; here nothing is preferred and all earn 0.
    """
    rewards_B = torch.zeros(len(batch))
    logs = {
        place: math.log(max(p_right(prompt, judged), _LEAST_PROBABILITY))
        for place, (prompt, judged) in batch.judged.items()
    }
    if logs and max(logs.values()) > min(logs.values()):
        worst, best = min(logs.values()), max(logs.values())
        for place, log in logs.items():
            rewards_B[place] = (log - worst) / (best - worst)
    return rewards_B


def length_share(batch: RewardBatch) -> Tensor:
    """[S1]'s length bonus: tokens over the most that were allowed, whatever they say."""
    return torch.tensor(batch.lengths_tokens).float() / batch.max_tokens


def p_right(prompt: AlignmentPrompt, judged: Classification) -> float:
    """The probability that the answer says what is right."""
    return judged.unsafe if prompt.right == "unsafe" else judged.safe


def default_reward() -> RewardSpec:
    """Right or wrong first; all else is worth less than the step between them.

    A bare right answer (1) beats the most informative wrong one (0.3), and a bare wrong one (0)
    beats the most informative evasion (-0.5 + 0.3).
    """
    return RewardSpec(
        (
            Term("absolute", absolute, options={"no_answer": -0.5}),
            Term("misformatted", misformatted, weight=0.25),
            Term("no_end", no_end),
            Term("informative", informative, weight=0.3, options={"enough": 8}),
        )
    )


def s1_reward() -> RewardSpec:
    """[S1]'s reward: relative correctness, -8 without an end token, up to 4 for length.

    The paper multiplies shaped rewards by 10 where it doesn't whiten them; that is left to the
    caller. It puts the score on the last position of the padded batch, this on the last token.
    """
    return RewardSpec(
        (
            Term("s1_minmax", s1_minmax),
            Term("no_end", no_end, weight=8.0),
            Term("length_share", length_share, weight=4.0),
        )
    )
