"""A small vision-language model made on the spot, and engines whose model runs elsewhere."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import stamina

from server.engine.remote import RemoteEngine

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Idefics3's template in short: content is a list of parts, the picture stands where its part does.
_LIST_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %} {{ part['text'] }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


@pytest.fixture(scope="module")
def plain_checkpoint(
    smollm2_tokenizer: "PreTrainedTokenizerFast", tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An untrained Idefics3 (SmolVLM's architecture) of two narrow layers; no recognition rows."""
    import torch
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3Processor,
        LlamaConfig,
    )
    from transformers.models.idefics3.image_processing_pil_idefics3 import (
        Idefics3ImageProcessorPil,
    )

    folder = tmp_path_factory.mktemp("vlm") / "idefics"
    smollm2_tokenizer.save_pretrained(folder)
    tokenizer = type(smollm2_tokenizer).from_pretrained(folder)
    places = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    marks = ["<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>"]
    tokenizer.add_special_tokens({"additional_special_tokens": [*marks, *places]})

    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        pad_token_id=0,
    )
    vision = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "image_size": 64,
        "patch_size": 16,
    }
    config = Idefics3Config(
        text_config=text.to_dict(),
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    Idefics3ForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)
    pixels = Idefics3ImageProcessorPil(
        size={"longest_edge": 128}, max_image_size={"longest_edge": 64}
    )
    Idefics3Processor(
        image_processor=pixels, tokenizer=tokenizer, image_seq_len=4, chat_template=_LIST_TEMPLATE
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def quick_retries() -> Iterator[None]:
    """Retries without the waits between them, and no more of them than are asked for."""
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


@pytest.fixture
async def remote(openai_server: Any, quick_retries: None) -> AsyncIterator[Callable[..., Any]]:
    """``await remote(...)``: a started `RemoteEngine` on `openai_server`, whose probes are over."""
    engines = []

    async def start(*, base_url: str | None = None, **options: Any) -> RemoteEngine:
        engine = RemoteEngine(base_url or openai_server.base_url, "tiny", **options)
        engines.append(engine)
        await engine.start()
        openai_server.forget()
        return engine

    yield start
    for engine in engines:
        await engine.stop()
