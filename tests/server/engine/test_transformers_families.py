"""S1's families that transformers knows, each asked through a tiny checkpoint of its architecture.

The checkpoints are untrained, made on the spot and saved in the layout of the hub's, image
processors named as the hub names them.
"""

import json
import math
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image
from transformers import PreTrainedTokenizerFast

from server.engine.protocol import Prompt, Question, Sampling, Written
from server.engine.transformers_engine import TransformersEngine
from server.errors import EngineError, QuestionTooLongError, UnusableAnswerError

JUDGE = "Is this picture fit for a general audience? Answer with yes or no."
LETTERS = "What does the picture show? A: a flag. B: a knife. Answer by letter."
CONTEXT_TOKENS = 160
# float32: what padding changes is the order of summing.
ROUNDING = 1e-4


class Family(NamedTuple):
    """A tiny checkpoint and what its family's prompts look like, by their publishers."""

    name: str
    folder: Path
    with_image: str
    without_image: str | None


def picture(seed: int, size: tuple[int, int] = (80, 60)) -> Image.Image:
    """Coarse coloured blocks: unlike any other seed's, and not lost in resizing."""
    dice = random.Random(seed)
    blocks = Image.new("RGB", (5, 4))
    blocks.putdata([tuple(dice.randrange(256) for _ in range(3)) for _ in range(20)])
    return blocks.resize(size, Image.Resampling.NEAREST)


def llama(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT_TOKENS,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def vicuna_like(folder: Path, smollm2: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """SmolLM2's words in the dress of Vicuna: no chat template, ``<s>`` put before every text."""
    from tokenizers.processors import TemplateProcessing

    smollm2.save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.chat_template = None
    for file in folder.glob("chat_template*"):
        file.unlink()
    tokenizer.add_special_tokens(
        {
            "bos_token": "<s>",
            "eos_token": "</s>",
            "pad_token": "<pad>",
            "additional_special_tokens": ["<image>"],
        }
    )
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    return tokenizer


def save_stirred(model: torch.nn.Module, folder: Path) -> None:
    """Save with weights so wide that an untrained model has opinions, on pictures too."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(std=0.3)
    model.save_pretrained(folder)  # type: ignore[operator]


def rename_in(file: Path, **entries: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def make_llava(folder: Path, smollm2: PreTrainedTokenizerFast) -> Family:
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = vicuna_like(folder, smollm2)
    config = LlavaConfig(
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 7,
        },
        text_config=llama(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        vision_feature_layer=-1,
    )
    save_stirred(LlavaForConditionalGeneration(config), folder)
    LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
        ),
        tokenizer=tokenizer,
        patch_size=7,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return Family("llava", folder, "USER: <image>\n{text} ASSISTANT:", "USER: {text} ASSISTANT:")


def make_instructblip(folder: Path, smollm2: PreTrainedTokenizerFast) -> Family:
    from transformers import (
        BertTokenizerFast,
        InstructBlipConfig,
        InstructBlipForConditionalGeneration,
        InstructBlipProcessor,
    )
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    tokenizer = vicuna_like(folder, smollm2)
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]"]
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*marks, *letters, *(f"##{letter}" for letter in letters), *".,:?"]
    (folder / "vocab.txt").write_text("\n".join(words))
    reader = BertTokenizerFast(vocab={word: i for i, word in enumerate(words)}, bos_token="[DEC]")
    config = InstructBlipConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 7,
        },
        qformer_config={
            "vocab_size": len(words),
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "encoder_hidden_size": 32,
            "max_position_embeddings": 256,
        },
        text_config=llama(tokenizer),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    save_stirred(InstructBlipForConditionalGeneration(config), folder)
    InstructBlipProcessor(
        image_processor=BlipImageProcessorPil(size={"height": 28, "width": 28}),
        tokenizer=tokenizer,
        qformer_tokenizer=reader,
        num_query_tokens=4,
    ).save_pretrained(folder)
    (folder / "vocab.txt").unlink()
    return Family("instructblip", folder, "{text}", None)


QWEN2_VL_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_qwen2_vl(folder: Path, smollm2: PreTrainedTokenizerFast) -> Family:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    smollm2.save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    marks = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.chat_template = QWEN2_VL_TEMPLATE
    start, end, image, video = tokenizer.convert_tokens_to_ids(marks)
    text = llama(tokenizer) | {
        "model_type": "qwen2_vl_text",
        "num_key_value_heads": 1,
        "rope_parameters": {
            "rope_type": "default",
            "mrope_section": [2, 3, 3],
            "rope_theta": 10_000.0,
        },
    }
    config = Qwen2VLConfig(
        text_config=text,
        vision_config={
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": 32,
            "num_heads": 2,
            "patch_size": 14,
            "spatial_merge_size": 2,
        },
        vision_start_token_id=start,
        vision_end_token_id=end,
        image_token_id=image,
        video_token_id=video,
    )
    save_stirred(Qwen2VLForConditionalGeneration(config), folder)
    tokenizer.save_pretrained(folder)
    # Pictures of different shapes take different numbers of tokens.
    Qwen2VLImageProcessorPil(
        size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112}
    ).save_pretrained(folder)
    rename_in(
        folder / "preprocessor_config.json",
        image_processor_type="Qwen2VLImageProcessor",
        processor_class="Qwen2VLProcessor",
    )
    # The hub's has settings for sampling, which a measurement must set aside.
    rename_in(
        folder / "generation_config.json",
        do_sample=True,
        repetition_penalty=1.05,
        temperature=0.01,
        top_k=1,
        top_p=0.001,
    )
    turn = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    asked = "{text}<|im_end|>\n<|im_start|>assistant\n"
    seen = "<|vision_start|><|image_pad|><|vision_end|>"
    return Family("qwen2_vl", folder, f"{turn}{seen}{asked}", f"{turn}{asked}")


MAKERS: dict[str, Callable[[Path, PreTrainedTokenizerFast], Family]] = {
    "llava": make_llava,
    "instructblip": make_instructblip,
    "qwen2_vl": make_qwen2_vl,
}


@pytest.fixture(scope="module", params=list(MAKERS))
def family(
    request: pytest.FixtureRequest,
    smollm2_tokenizer: PreTrainedTokenizerFast,
    tmp_path_factory: pytest.TempPathFactory,
) -> Family:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("families") / str(request.param)
    folder.mkdir()
    return MAKERS[str(request.param)](folder, smollm2_tokenizer)


@pytest.fixture(scope="module")
async def engine(family: Family) -> AsyncIterator[TransformersEngine]:
    running = TransformersEngine(family.folder, batch_size=4)
    await running.start()
    yield running
    await running.stop()


def judge(seed: int, text: str = JUDGE) -> Question:
    size = (80, 60) if seed % 2 else (60, 110)
    return Question(text=text, options=("yes", "no"), image=picture(seed, size))


def questions(family: Family) -> list[Question]:
    """Six, of different lengths and shapes, some without a picture where the family can."""
    asked = [
        judge(1),
        Question(LETTERS, ("A", "B"), picture(2)),
        judge(3, f"Look closely. {JUDGE}"),
        judge(4),
    ]
    if family.without_image is not None:
        words = 'Is a picture of "{}" fine? Answer with yes or no.'
        asked.insert(1, Question(words.format("a kitten"), ("yes", "no")))
        asked.append(Question(words.format("a war and its many dead"), ("yes", "no")))
    return asked


def log_masses(answer: object) -> dict[str, float]:
    assert not isinstance(answer, EngineError), answer
    return {option: math.log(mass) for option, mass in answer.option_mass.items()}  # type: ignore[attr-defined]


async def test_a_batch_answers_as_its_questions_do_alone_and_in_their_order(
    engine: TransformersEngine, family: Family
) -> None:
    asked = questions(family)
    together = [log_masses(answer) for answer in await engine.ask_all(asked)]
    alone = [log_masses(await engine.ask(question)) for question in asked]
    for one, other in zip(alone, together, strict=True):
        assert other == pytest.approx(one, abs=ROUNDING)
    assert len({tuple(one.values()) for one in alone}) == len(asked), "told apart at all"


async def test_the_same_list_gets_the_same_answers_bit_by_bit(
    engine: TransformersEngine, family: Family
) -> None:
    asked = questions(family)
    first = await engine.ask_all(asked)
    await engine.ask_all(asked[:1])
    assert await engine.ask_all(asked) == first


async def test_the_picture_changes_the_answer(engine: TransformersEngine) -> None:
    one, other = [log_masses(answer) for answer in await engine.ask_all([judge(1), judge(3)])]
    assert abs(one["yes"] - other["yes"]) > 100 * ROUNDING


async def test_the_prompt_is_the_one_the_family_published(
    engine: TransformersEngine, family: Family
) -> None:
    assert engine._session is not None
    prompt = engine._session.loaded.adapter.prompt
    assert prompt(JUDGE, with_image=True) == family.with_image.format(text=JUDGE)
    if family.without_image is not None:
        assert prompt(JUDGE, with_image=False) == family.without_image.format(text=JUDGE)


async def test_a_family_that_needs_a_picture_refuses_words_alone_and_answers_the_rest(
    engine: TransformersEngine, family: Family
) -> None:
    words = Question("Is a gun safe? Answer with yes or no.", ("yes", "no"))
    refused, answered = await engine.ask_all([words, judge(1)])
    if family.without_image is None:
        assert isinstance(refused, UnusableAnswerError)
        assert "without a picture" in refused.reason
    else:
        log_masses(refused)
    log_masses(answered)


async def test_masses_are_those_of_the_whole_vocabulary(
    engine: TransformersEngine, family: Family
) -> None:
    """Held against the model's own forward pass on inputs made by its own processor."""
    assert engine._session is not None
    adapter: Any = engine._session.loaded.adapter
    question = judge(3)
    inputs = adapter._processor(
        text=[family.with_image.format(text=question.text)],
        images=[question.image],
        return_tensors="pt",
    )
    with torch.inference_mode():
        logits = adapter._model(**inputs).logits[0, -1]
    logprobs = torch.log_softmax(logits.double(), dim=-1)
    ids = engine._session.reading(("yes", "no")).ids_by_option["yes"]
    expected = float(torch.logsumexp(logprobs[list(ids)], dim=-1))
    assert log_masses(await engine.ask(question))["yes"] == pytest.approx(expected, abs=ROUNDING)


async def test_a_question_beyond_the_context_is_refused_alone(engine: TransformersEngine) -> None:
    long = judge(2, "word " * CONTEXT_TOKENS)
    before, refused, after = await engine.ask_all([judge(1), long, judge(3)])
    assert isinstance(refused, QuestionTooLongError)
    assert refused.max_tokens == CONTEXT_TOKENS
    both = [log_masses(before), log_masses(after)]
    expected = [log_masses(answer) for answer in await engine.ask_all([judge(1), judge(3)])]
    assert both == expected


async def test_written_answers_depend_on_their_own_seed_alone(
    engine: TransformersEngine,
) -> None:
    sampling = Sampling(max_tokens=12)
    prompts = [Prompt(JUDGE, picture(seed), seed=seed) for seed in range(3)]
    together = await engine.write_all(prompts, sampling)
    assert together == await engine.write_all(prompts, sampling)
    assert [*reversed(together)] == await engine.write_all([*reversed(prompts)], sampling)
    alone = [(await engine.write_all([prompt], sampling))[0] for prompt in prompts]
    assert alone == together
    other_seed = Prompt(JUDGE, picture(0), seed=99)
    assert (await engine.write_all([other_seed], sampling))[0] != together[0]


async def test_at_temperature_0_the_seed_does_not_matter_and_the_first_token_is_the_likeliest(
    engine: TransformersEngine,
) -> None:
    sampling = Sampling(max_tokens=6, temperature=0.0)
    prompts = [Prompt(JUDGE, picture(1), seed=seed) for seed in (0, 1)]
    one, other = await engine.write_all(prompts, sampling)
    assert one == other
    assert isinstance(one, Written)
    assert one.tokens <= 6


async def test_an_answer_is_cut_where_the_context_ends(engine: TransformersEngine) -> None:
    written = await engine.write_all(
        [Prompt(JUDGE, picture(1), seed=3)], Sampling(max_tokens=10_000)
    )
    assert isinstance(written[0], Written)
    assert written[0].tokens < CONTEXT_TOKENS
