"""A second adapter on weights that vLLM has loaded: what is asked of vLLM, in its place a fake."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from server.engine import vllm_loading
from server.engine.conversation import Writer
from server.engine.model_source import adapted_version
from server.engine.mortal import Mortal
from server.engine.protocol import Answer, Engine, ModelCard, Question
from server.engine.vllm_engine import VllmEngine
from server.errors import EngineStartError, EngineUnavailableError, UnusableAnswerError

QUESTION = Question("Is it?", ("yes", "no"))


@dataclass(frozen=True)
class LoRARequest:
    """vLLM's, as far as it is used."""

    lora_name: str
    lora_int_id: int
    lora_path: str


class FakeVllm:
    """Notes which adapters it was given and which it was asked with."""

    def __init__(self) -> None:
        self.loaded: dict[int, str] = {}
        self.asked_with: list[Any] = []
        self.errored = False
        self.takes_adapters = True
        self.answers: Exception | None = None

    async def add_lora(self, lora: LoRARequest) -> bool:
        if not self.takes_adapters:
            raise RuntimeError("no such module")
        self.loaded[lora.lora_int_id] = lora.lora_path
        return True

    async def remove_lora(self, lora_id: int) -> bool:
        del self.loaded[lora_id]
        return True


class Base(VllmEngine):
    """A started engine whose vLLM is a fake."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **options)
        self.llm = FakeVllm()
        self._serving = SimpleNamespace(  # type: ignore[assignment]
            llm=self.llm, bare_version="b" * 64, max_adapters=options.get("further_adapters", 0)
        )
        self._card = ModelCard("base", "b" * 64, has_recognition=True)

    async def _answer(self, serving: Any, question: Question, lora: Any) -> Answer:
        self.llm.asked_with.append(lora)
        if self.llm.answers is not None:
            raise self.llm.answers
        return Answer(option_mass={"yes": 0.5, "no": 0.5})


@pytest.fixture(autouse=True)
def fake_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        __import__("sys").modules, "vllm.lora.request", SimpleNamespace(LoRARequest=LoRARequest)
    )
    monkeypatch.setattr(vllm_loading, "_is_cpu_build", lambda: False)


@pytest.fixture
def base(tmp_path: Path) -> Base:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    return Base(model, further_adapters=2)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "strict"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": 16}))
    return folder


async def test_it_is_an_engine_of_its_own_on_the_same_weights(base: Base, adapter: Path) -> None:
    view: Engine = base.adapted(adapter, name="strict")
    assert isinstance(view, Mortal)
    assert isinstance(view, Writer)
    await view.start()
    await view.start()
    assert list(base.llm.loaded.values()) == [str(adapter)]
    await view.ask(QUESTION)
    await base.ask(QUESTION)
    assert await view.ready()
    probe, asked, own, ready = base.llm.asked_with
    assert own is None
    assert {probe.lora_name, asked.lora_name, ready.lora_name} == {"strict"}


async def test_its_version_is_that_of_the_adapter_on_the_bare_model(
    base: Base, adapter: Path
) -> None:
    view = base.adapted(adapter, name="strict")
    with pytest.raises(EngineUnavailableError):
        _ = view.card
    await view.start()
    assert (view.card.id, view.card.has_recognition) == ("strict", True)
    assert view.card.version == adapted_version("b" * 64, adapter)
    assert view.card.version != base.card.version


async def test_stopping_it_leaves_the_weights_and_makes_room(base: Base, adapter: Path) -> None:
    views = [base.adapted(adapter, name=name) for name in ("one", "two", "three")]
    await views[0].start()
    await views[1].start()
    with pytest.raises(EngineStartError, match="unload one first"):
        await views[2].start()
    await views[0].stop()
    await views[0].stop()
    await views[2].start()
    # A number is never given out twice: vLLM may still know the old adapter by it.
    assert sorted(base.llm.loaded) == [3, 4]
    with pytest.raises(EngineUnavailableError):
        await views[0].ask(QUESTION)
    await base.ask(QUESTION)


@pytest.mark.parametrize("trouble", ["not loaded", "no answer"])
async def test_one_that_can_not_be_asked_leaves_nothing_behind(
    base: Base, adapter: Path, trouble: str
) -> None:
    base.llm.takes_adapters = trouble != "not loaded"
    base.llm.answers = UnusableAnswerError("nothing") if trouble == "no answer" else None
    with pytest.raises(EngineStartError, match="strict"):
        await base.adapted(adapter, name="strict").start()
    assert base.llm.loaded == {}
    base.llm.takes_adapters, base.llm.answers = True, None
    for name in ("one", "two"):
        await base.adapted(adapter, name=name).start()


async def test_it_dies_with_the_engine_that_holds_the_weights(base: Base, adapter: Path) -> None:
    view = base.adapted(adapter, name="strict")
    await view.start()
    death = asyncio.ensure_future(view.died())
    base.llm.errored = True
    async with asyncio.timeout(30):
        assert "died" in await death
    await view.stop()


def test_an_engine_without_room_says_so_before_anything_is_loaded(
    tmp_path: Path, adapter: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    with pytest.raises(EngineStartError, match="SIGHTWARD_LIVE_ADAPTERS"):
        Base(model).adapted(adapter, name="strict")
