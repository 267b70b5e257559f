"""Whether exported weights say what the policy said: the check that ends every export.

The training model and the engine that will serve are asked the same: judgements of drawings made
here and of words. Compared is what a verdict is read from, the first token's probability of "yes"
and of "no" (all spellings together), as natural logarithms, both in bf16.

Tolerances: in bf16 logits between 16 and 32 come in steps of 1/8, so log-odds move by 1/4 where two
runtimes round both logits apart, and merging rounds the weights once more. On the reference VLM a
sound export differed by .19 at most and .05 in the mean. An adapter that is lost, added twice or
put on other layers differs by about as much as training moved the answers. That is measured too
(`effect_nats`): where it is below the tolerance, the check says little, and its line shows it.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from alignment.policy import Policy
from alignment.policy_inputs import Encoded
from alignment.prompts import AlignmentPrompt
from server.concepts.probes import YES_NO_OPTIONS, load_probes
from server.engine.answer_tokens import AnswerTokens
from server.engine.protocol import Answer, Engine, Question
from server.errors import SightwardError

MAX_TOLERANCE_NATS = 0.4
MEAN_TOLERANCE_NATS = 0.1
# Below it an option is ruled out either way, and a logarithm would compare rounding errors.
_LEAST_MASS = 1e-9

_WORDS = ("a bowl of soup", "a loaded gun", "a child on a swing", "a burning house")
_SIZES_PX = ((320, 240), (240, 320), (400, 160), (224, 224))

Masses = Mapping[str, float]
"""First-token probability of each option."""


@dataclass(frozen=True, slots=True)
class Parity:
    """What the check measured, in nats over all questions and both options.

    `effect_nats` is the most that training moved one of them, by the training model alone.
    """

    questions: int
    max_nats: float
    mean_nats: float
    effect_nats: float
    engine: str

    @property
    def holds(self) -> bool:
        """Whether both differences are tolerable; one that is no number is not."""
        return self.max_nats <= MAX_TOLERANCE_NATS and self.mean_nats <= MEAN_TOLERANCE_NATS

    def __str__(self) -> str:
        return (
            f"log-probabilities of yes and no by the policy and by {self.engine} differ by "
            f"{self.max_nats:.3f} nats at most and {self.mean_nats:.3f} in the mean of "
            f"{self.questions} questions (tolerated: {MAX_TOLERANCE_NATS} and "
            f"{MEAN_TOLERANCE_NATS}); training moved them by up to {self.effect_nats:.3f}"
        )


class ParityError(SightwardError):
    """What was exported answers otherwise than the policy; `parity` says by how much."""

    def __init__(self, parity: Parity) -> None:
        super().__init__(
            f"the exported weights don't answer as the policy, nothing was written: {parity}"
        )
        self.parity = parity


@dataclass(frozen=True, slots=True)
class PolicySays:
    """The training model's answers, in the questions' order, and how far training moved them."""

    masses: tuple[Masses, ...]
    effect_nats: float


def parity_questions() -> tuple[Question, ...]:
    """Every judgement about a drawing of its own, and some about words; always the same."""
    judgements = load_probes().judgements
    drawn = [
        Question(probe.question, YES_NO_OPTIONS, drawing(number))
        for number, probe in enumerate(judgements)
    ]
    said = [
        Question(judgements[number % len(judgements)].about_text(words), YES_NO_OPTIONS)
        for number, words in enumerate(_WORDS)
    ]
    return (*drawn, *said)


def drawing(number: int) -> Image.Image:
    """A coloured shape on a coloured ground; each number's is another."""
    width, height = _SIZES_PX[number % len(_SIZES_PX)]
    picture = Image.new("RGB", (width, height), _colour(number))
    pen = ImageDraw.Draw(picture)
    draw = (pen.ellipse, pen.rectangle, pen.line)[number % 3]
    draw((width // 5, height // 4, width * 3 // 4, height * 4 // 5), _colour(number + 7), width=9)
    return picture


def ask_policy(policy: Policy, questions: Sequence[Question]) -> PolicySays:
    """Ask the training model, with its adapter and without."""
    prompts = [
        AlignmentPrompt(str(place), question.text, None if question.image is None else str(place))
        for place, question in enumerate(questions)
    ]
    pictures = {str(place): q.image for place, q in enumerate(questions) if q.image is not None}
    encoded = policy.encode(prompts, lambda example_id, _view: pictures[example_id])
    ids_of = AnswerTokens(policy.base.tokenizer).of_all(YES_NO_OPTIONS)
    p_BV = _first_probabilities(policy, encoded)  # noqa: N806
    masses = tuple(
        {option: float(p_V[list(ids)].sum()) for option, ids in ids_of.items()} for p_V in p_BV
    )
    effect = max(_effect(policy, encoded, p_BV, ids) for ids in ids_of.values())
    return PolicySays(masses, effect)


def ask_served(checkpoint: Path, questions: Sequence[Question]) -> tuple[tuple[Masses, ...], str]:
    """Ask a checkpoint through the engine that would serve it here; also the engine in words.

    Raises EngineStartError and what the engine refuses.
    """
    from server.serving_engine import make_engine
    from server.settings import Settings

    # Whatever the environment sets for a server, what is checked is this checkpoint alone.
    engine = make_engine(Settings(model=str(checkpoint), reference=None, adapter=None))
    answers = asyncio.run(_answers(engine, questions))
    label = type(engine).__name__.removesuffix("Engine").lower()
    return tuple(answer.option_mass for answer in answers), label


def compare(policy: PolicySays, served: Sequence[Masses], *, engine: str) -> Parity:
    """How far two runtimes are apart. Raises ParityError when that is too far."""
    gaps = [
        _gap(ours[option], theirs[option])
        for ours, theirs in zip(policy.masses, served, strict=True)
        for option in YES_NO_OPTIONS
    ]
    parity = Parity(
        questions=len(served),
        # A maximum of numbers and no number depends on their order.
        max_nats=math.nan if any(map(math.isnan, gaps)) else max(gaps),
        mean_nats=math.fsum(gaps) / len(gaps),
        effect_nats=policy.effect_nats,
        engine=engine,
    )
    if not parity.holds:
        raise ParityError(parity)
    return parity


async def _answers(engine: Engine, questions: Sequence[Question]) -> list[Answer]:
    await engine.start()
    try:
        return await asyncio.gather(*(engine.ask(question) for question in questions))
    finally:
        await engine.stop()


def _first_probabilities(policy: Policy, encoded: Encoded) -> Tensor:
    """Probabilities (B, V) of the first token of each answer, in float64."""
    rows_of_all: dict[int, Tensor] = {}
    for rows in encoded.by_kind():
        seen: list[Tensor] = []

        def pick(logits_BV: Tensor, seen: list[Tensor] = seen) -> Tensor:  # noqa: N803
            seen.append(logits_BV.double().softmax(dim=-1).cpu())
            return logits_BV.argmax(dim=-1)

        policy.generate(encoded.take(rows), pick, max_new_tokens=1)
        rows_of_all.update(zip(rows, seen[0], strict=True))
    return torch.stack([rows_of_all[row] for row in range(len(encoded))])


def _effect(
    policy: Policy,
    encoded: Encoded,
    p_BV: Tensor,  # noqa: N803
    ids: Sequence[int],
) -> float:
    """How far training moved the likeliest of an option's spellings, at the most, in nats."""
    spelt = torch.tensor(ids)[p_BV[:, list(ids)].argmax(dim=-1)][:, None]
    mask = torch.ones_like(spelt, dtype=torch.bool)
    with policy.at_rest():
        trained, before = (
            policy.logprobs_of(encoded, spelt, mask, role).logprobs_BA.flatten().tolist()
            for role in ("policy", "reference")
        )
    return max(
        _gap(math.exp(one), math.exp(other)) for one, other in zip(trained, before, strict=True)
    )


def _gap(one: float, other: float) -> float:
    return abs(math.log(max(one, _LEAST_MASS)) - math.log(max(other, _LEAST_MASS)))


def _colour(number: int) -> tuple[int, int, int]:
    return (97 * number + 40) % 256, (151 * number + 90) % 256, (211 * number + 200) % 256
