"""Packed turns must see exactly what they would see alone."""

import pytest
import torch

from alignment.packing import Conversation, Packer
from alignment.tasks import Turn
from server.concepts.taxonomy import load_taxonomy
from server.vlm.base import base_config, base_tokenizer
from server.vlm.config import SightwardConfig
from server.vlm.model import SightwardForConditionalGeneration
from server.vlm.tower import CHANNELS

CATEGORY_OF = {name: load_taxonomy().category_of(name) for name in load_taxonomy().concept_names}
TURNS = (
    Turn("Is this picture suitable for everyone to see?", None, "Arson"),
    Turn("Describe this picture.", "A photo of a fire.", "Arson"),
    Turn("Is there a boat?", "No", None),
)


@pytest.fixture(scope="module")
def config() -> SightwardConfig:
    """The real vocabulary on a model of two narrow layers."""
    config = base_config(grid=2, safety_tokens=1, recognition_hidden=8)
    narrow = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
    for field, value in (narrow | heads).items():
        setattr(config.text_config, field, value)
    return config


@pytest.fixture(scope="module")
def model(config: SightwardConfig) -> SightwardForConditionalGeneration:
    torch.manual_seed(0)
    model = SightwardForConditionalGeneration(config).eval()
    model.language_model.set_attn_implementation("eager")
    return model


@pytest.fixture(scope="module")
def packer(config: SightwardConfig) -> Packer:
    return Packer(base_tokenizer(), config)


def features() -> torch.Tensor:
    return torch.randn(4, CHANNELS, generator=torch.Generator().manual_seed(5))


@torch.inference_mode()
def hidden(
    model: SightwardForConditionalGeneration, packer: Packer, conversations: list[Conversation]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states (turns, H) where each turn's first answer token is predicted, and (L, H)."""
    batch = packer.pack(conversations, CATEGORY_OF)
    embeddings = model.embed_inputs(batch.input_ids, tower_features=batch.tower_features)
    states = model.language_model.model(
        inputs_embeds=embeddings,
        attention_mask=batch.attention_mask.float(),
        position_ids=batch.position_ids,
        use_cache=False,
    ).last_hidden_state.flatten(0, 1)
    real = batch.answer_weight > 0
    return states[batch.row_index], states[batch.answer_index[real]]


def test_a_packed_turn_equals_the_turn_alone(
    model: SightwardForConditionalGeneration, packer: Packer
) -> None:
    picture = features()
    words = Conversation((Turn("Is a boat harmful?", "No", None), TURNS[2]))
    rows, answers = hidden(model, packer, [Conversation(TURNS, picture), words])
    alone = [hidden(model, packer, [Conversation((turn,), picture)]) for turn in TURNS] + [
        hidden(model, packer, [Conversation((turn,))]) for turn in words.turns
    ]
    torch.testing.assert_close(rows, torch.cat([one[0] for one in alone]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(answers, torch.cat([one[1] for one in alone]), rtol=1e-4, atol=1e-5)


def test_a_packed_prompt_is_the_served_prompt(packer: Packer, config: SightwardConfig) -> None:
    tokenizer = base_tokenizer()
    batch = packer.pack([Conversation(TURNS[:1], features())], CATEGORY_OF)
    content = [{"type": "image"}, {"type": "text", "text": TURNS[0].prompt}]
    served = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    ).replace("<image>", "<image>" * config.image_positions)
    expected = tokenizer.encode(served, add_special_tokens=False)
    assert batch.input_ids[0, : len(expected)].tolist() == expected
    assert int(batch.row_index[0]) == len(expected) - 1
    assert batch.position_ids[0, : len(expected)].tolist() == list(range(len(expected)))


def test_answers_are_learnt_to_their_end_token(packer: Packer) -> None:
    tokenizer = base_tokenizer()
    batch = packer.pack([Conversation(TURNS[1:2], features())], CATEGORY_OF)
    real = batch.answer_weight > 0
    assert tokenizer.decode(batch.answer_ids[real]) == "A photo of a fire.<|im_end|>"
    assert float(batch.answer_weight.sum()) == pytest.approx(1.0)


def test_row_targets_follow_the_ids(packer: Packer, config: SightwardConfig) -> None:
    rows = config.recognition_token_ids
    assert rows is not None
    first = config.recognition_rows.start
    batch = packer.pack([Conversation(TURNS, features())], CATEGORY_OF)
    category = rows["categories"]["Illegal activity"] - first
    concept = rows["concepts"]["Arson"] - first - 9
    assert batch.row_category.tolist() == [category, category, 9]
    assert batch.row_concept.tolist() == [concept, concept, 75]
