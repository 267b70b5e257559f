"""A reference VLM of two narrow layers, for tests of its parts."""

from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from server.vlm.config import SightwardConfig
    from server.vlm.model import SightwardForConditionalGeneration


@pytest.fixture
def narrow_config() -> "SightwardConfig":
    """Two layers of 32, 100 words, six rows, a grid of two and two safety tokens."""
    from server.vlm.config import SightwardConfig, lay_out_rows

    return SightwardConfig(
        text_config={
            "vocab_size": 128,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "tie_word_embeddings": True,
        },
        grid=2,
        safety_tokens=2,
        recognition_hidden=8,
        image_token_id=100,
        recognition_token_ids=lay_out_rows(101, ["Hate", "Arms"], ["b", "a", "c"]),
    )


@pytest.fixture
def narrow_model(narrow_config: "SightwardConfig") -> "SightwardForConditionalGeneration":
    """The narrow model, randomly initialised by a fixed seed."""
    from server.vlm.model import SightwardForConditionalGeneration

    torch.manual_seed(0)
    return SightwardForConditionalGeneration(narrow_config).eval()
