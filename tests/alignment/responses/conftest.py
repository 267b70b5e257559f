"""Tiny stand-ins for what judges answers: a RoBERTa in the published layout, and a judge model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from server.engine.protocol import Answer, ModelCard, Prompt, Question, Sampling, Written
from server.errors import EngineError, EngineUnavailableError

# Characters, so that any text has tokens; ids 0 to 3 are RoBERTa's own special ones.
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,!?'"


class FakeJudge:
    """A `BatchEngine` whose replies the test chooses; `None` for one that is down."""

    def __init__(self, reply: Callable[[Prompt], str | EngineError] | None) -> None:
        self.card = ModelCard(id="test/judge", version="f" * 40, has_recognition=False)
        self.prompts: list[Prompt] = []
        self.samplings: list[Sampling] = []
        self._reply = reply

    async def start(self) -> None:
        """Nothing to load."""

    async def stop(self) -> None:
        """Nothing to release."""

    async def ask_all(self, questions: Sequence[Question]) -> list[Answer | EngineError]:
        raise AssertionError("a judge writes")

    async def write_all(
        self, prompts: Sequence[Prompt], sampling: Sampling
    ) -> list[Written | EngineError]:
        if self._reply is None:
            raise EngineUnavailableError("the judge is down")
        self.prompts += prompts
        self.samplings.append(sampling)
        replies = [self._reply(prompt) for prompt in prompts]
        return [
            Written(reply, tokens=2, is_complete=True) if isinstance(reply, str) else reply
            for reply in replies
        ]


@pytest.fixture
def judge_engine() -> type[FakeJudge]:
    """Makes judges."""
    return FakeJudge


@pytest.fixture(scope="session")
def roberta_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny RoBERTa's configuration and a tokenizer of characters."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast, RobertaConfig

    folder = tmp_path_factory.mktemp("roberta-base")
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *CHARACTERS))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split("", "isolated")
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
    ).save_pretrained(folder)
    RobertaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=34,
        type_vocab_size=1,
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def published_state(roberta_base: Path) -> Callable[[int], dict[str, Any]]:
    """A random state dict in S1's layout with so many classes: its whole module, as it saves it."""
    import torch
    from transformers import RobertaConfig, RobertaModel

    class Published(torch.nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            config = RobertaConfig.from_pretrained(roberta_base)
            self.roberta = RobertaModel(config)
            self.classifier = torch.nn.Linear(config.hidden_size, classes)

    def state(classes: int) -> dict[str, Any]:
        torch.manual_seed(classes)
        module = Published(classes)
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        return dict(module.state_dict())

    return state
