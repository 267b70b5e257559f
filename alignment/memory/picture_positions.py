"""How many positions a picture takes of a model's prompt, by the model's own processor."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from alignment.policy_errors import PolicyModelError

# More pixels than most pictures online; where a processor has an upper limit it is met or close.
_SIZE = (1600, 1200)


def picture_positions(model: str | Path, config: Any, options: Mapping[str, Any]) -> int:
    """Encode a blank picture of 1,600 x 1,200; needs the processor's files, no weights.

    `options` go to the processor. Raises PolicyModelError, and EngineStartError for a model that
    nothing says how to ask.
    """
    from server.engine.hf_processors import load_processor
    from server.engine.hf_prompts import PromptRenderer

    try:
        processor = load_processor(str(model), config, **options)
    except (OSError, ValueError, ImportError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
        raise PolicyModelError(str(model), reason) from error
    renderer = PromptRenderer(processor, config.model_type)
    lengths = []
    for picture in (Image.new("RGB", _SIZE), None):
        text = renderer.prompt("?", with_image=picture is not None)
        images = None if picture is None else [[picture]]
        lengths.append(len(processor(text=[text], images=images)["input_ids"][0]))
    return int(lengths[0] - lengths[1])
