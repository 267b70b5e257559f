"""What tests of every package share."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# A busy machine is slow, not wrong.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start engines first: two processes then end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("engine") is not None}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def logging_is_left_as_it_was() -> Iterator[None]:
    """A command that a test runs sets logging up for its process, which is every test's."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


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


@pytest.fixture(scope="session")
def running_openai_server() -> Iterator[Any]:
    """The server behind `openai_server`, one for all tests."""
    name = "openai_server"
    path = Path(__file__).parent / "server" / "engine" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    server = module.OpenAIServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def openai_server(running_openai_server: Any) -> Iterator[Any]:
    """An OpenAI-compatible chat server on a real socket, programmed by each test anew."""
    running_openai_server.reset()
    yield running_openai_server
    running_openai_server.reset()
