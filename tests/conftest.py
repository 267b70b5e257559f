"""What tests of every package share."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Everything async runs on asyncio, as vLLM does; session-wide, so that fixtures may be too."""
    return "asyncio"


@pytest.fixture(scope="session")
def smollm2_tokenizer() -> "PreTrainedTokenizerFast":
    """The tokenizer of the language model in the reference VLM, without its image placeholder."""
    from server.vlm.packaged_weights import load_tokenizer

    return load_tokenizer()


@pytest.fixture(scope="session")
def reference_checkpoint() -> Path:
    """The reference VLM's checkpoint, assembled in the user's cache (once a machine)."""
    from server.vlm.assembly import assemble

    return assemble()
