"""One model, two runtimes: transformers (training) and vLLM (serving) say the same."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from server.concepts.probes import load_probes
from server.engine.protocol import Question
from server.engine.vllm_engine import VllmEngine
from server.engine.vllm_requests import first_token_logprobs
from server.vlm.plugin import register_with_transformers

pytestmark = pytest.mark.engine

TOLERANCE = 1e-3
TOP = 20
IMAGES = 8


def picture(seed: int) -> Image.Image:
    """Coloured blocks of an uneven size: resizing, aspect and colour all matter."""
    dice = random.Random(seed)
    blocks = Image.new("RGB", (7, 5))
    blocks.putdata([tuple(dice.randrange(256) for _ in range(3)) for _ in range(35)])
    return blocks.resize((180 + 40 * seed, 420 - 30 * seed), Image.Resampling.BICUBIC)


class Training:
    """The training model in float32, asked through the processor and the chat template."""

    def __init__(self, checkpoint: Path) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        register_with_transformers()
        self.processor: Any = AutoProcessor.from_pretrained(checkpoint)
        self.model: Any = AutoModelForImageTextToText.from_pretrained(
            checkpoint, dtype=torch.float32
        )
        self.model.eval()

    def logprobs(self, question: Question) -> torch.Tensor:
        content: list[dict[str, str]] = [{"type": "text", "text": question.text}]
        if question.image is not None:
            content.insert(0, {"type": "image"})
        prompt = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        images = None if question.image is None else [question.image]
        inputs = self.processor(text=prompt, images=images, return_tensors="pt")
        with torch.inference_mode():
            logits = self.model(**inputs, logits_to_keep=1).logits[0, -1]
        return torch.log_softmax(logits.double(), dim=-1)

    @property
    def rows(self) -> list[int]:
        return list(self.model.config.recognition_rows)


@pytest.fixture(scope="module")
def training(reference_checkpoint: Path) -> Training:
    return Training(reference_checkpoint)


@pytest.fixture(scope="module")
async def engine(reference_checkpoint: Path) -> AsyncIterator[VllmEngine]:
    engine = VllmEngine(reference_checkpoint, dtype="float32")
    await engine.start()
    yield engine
    await engine.stop()


async def served_logprobs(
    engine: VllmEngine, question: Question, token_ids: list[int]
) -> dict[int, float]:
    assert engine._serving is not None
    return first_token_logprobs(await engine._output(engine._serving, question, token_ids, None))


async def widest_gap(engine: VllmEngine, training: Training, questions: list[Question]) -> float:
    """All questions at once, so that vLLM mixes them in its batches."""
    expected = [training.logprobs(question) for question in questions]
    wanted = [[*logprobs.topk(TOP).indices.tolist(), *training.rows] for logprobs in expected]
    served = await asyncio.gather(
        *(served_logprobs(engine, q, ids) for q, ids in zip(questions, wanted, strict=True))
    )
    return max(
        abs(answer[token_id] - float(logprobs[token_id]))
        for logprobs, ids, answer in zip(expected, wanted, served, strict=True)
        for token_id in ids
    )


async def test_pictures_get_the_same_logprobs(engine: VllmEngine, training: Training) -> None:
    judgements = load_probes().judgements
    assert len(judgements) == 5
    questions = [
        Question(text=probe.question, options=("yes", "no"), image=picture(seed))
        for seed in range(IMAGES)
        for probe in judgements
    ]
    assert len(training.rows) == 85
    assert await widest_gap(engine, training, questions) < TOLERANCE


async def test_words_get_the_same_logprobs(engine: VllmEngine, training: Training) -> None:
    questions = [
        Question(text=probe.about_text(text), options=("yes", "no"))
        for probe in load_probes().judgements
        for text in ("a bowl of soup", "a gun")
    ]
    assert await widest_gap(engine, training, questions) < TOLERANCE


def test_rows_take_no_probability_from_words(training: Training) -> None:
    logprobs = training.logprobs(Question(text="Say hello.", options=("yes", "no")))
    assert float(logprobs[training.rows].exp().sum()) < 1e-15
    assert float(logprobs[training.model.config.image_token_id].exp()) == 0.0
