"""The reference VLM's configuration and its vocabulary layout.

Vocabulary: the language model's own words first, then the image placeholder, then one recognition
row for every category, every concept and "none". Rows are ids without words: nothing ever
generates them, their columns of the logits carry what the model sees.
"""

from collections.abc import Mapping
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import LlamaConfig, PreTrainedConfig

MODEL_TYPE = "sightward_vlm"
ARCHITECTURE = "SightwardForConditionalGeneration"
IMAGE_TOKEN = "<image>"  # noqa: S105 - a vocabulary entry, not a password


@strict
class SightwardConfig(PreTrainedConfig):
    """Configuration of `SightwardForConditionalGeneration`.

    `grid` is the side of the pooled image grid; `safety_tokens` the number of learned vectors put
    before the image positions (0 allowed); `recognition_hidden` the width of the recognition head;
    `recognition_token_ids` is ``{"categories": {name: id}, "concepts": {name: id}, "none": id}``,
    the ids consecutive in that order.
    """

    model_type = MODEL_TYPE
    sub_configs = {"text_config": LlamaConfig}  # noqa: RUF012 - transformers' own interface

    text_config: Any = None  # given as a dict or a LlamaConfig, kept as a LlamaConfig
    grid: int = 6
    safety_tokens: int = 4
    recognition_hidden: int = 256
    image_token_id: int = 0
    recognition_token_ids: Any = None
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        if isinstance(self.text_config, dict):
            self.text_config = LlamaConfig(**self.text_config)
        elif self.text_config is None:
            self.text_config = LlamaConfig()
        # vLLM builds the language model by this name, from the text configuration alone.
        self.text_config.architectures = ["LlamaForCausalLM"]
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]

    @property
    def image_positions(self) -> int:
        """How many positions one image takes in the prompt, safety tokens included."""
        return self.safety_tokens + self.grid * self.grid

    @property
    def recognition_rows(self) -> range:
        """The ids of all recognition rows; empty when the model carries none."""
        if self.recognition_token_ids is None:
            return range(0)
        rows = self.recognition_token_ids
        # Saving a configuration sorts its names, so only the ids tell the order.
        return range(min(rows["categories"].values()), rows["none"] + 1)


def lay_out_rows(
    first_id: int, categories: Mapping[str, object] | list[str], concepts: list[str]
) -> dict[str, Any]:
    """Number the recognition rows from `first_id`: categories, then concepts, then "none"."""
    names = list(categories)
    none_id = first_id + len(names) + len(concepts)
    return {
        "categories": {name: first_id + i for i, name in enumerate(names)},
        "concepts": {name: first_id + len(names) + i for i, name in enumerate(concepts)},
        "none": none_id,
    }
