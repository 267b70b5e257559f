"""Makes transformers and vLLM know the reference VLM; vLLM calls `register` in every process.

The entry point group is ``vllm.general_plugins``. Nothing here is remote code: the classes come
from this package, the checkpoint carries data only.
"""

from server.vlm.config import ARCHITECTURE, MODEL_TYPE


def register_with_transformers() -> None:
    """Let the Auto classes load the reference VLM's checkpoints. Safe to call twice."""
    from transformers import (
        AutoConfig,
        AutoImageProcessor,
        AutoModelForImageTextToText,
        AutoProcessor,
    )

    from server.vlm.config import SightwardConfig
    from server.vlm.model import SightwardForConditionalGeneration
    from server.vlm.processing import SightwardImageProcessor, SightwardProcessor

    AutoConfig.register(MODEL_TYPE, SightwardConfig, exist_ok=True)
    AutoImageProcessor.register(
        SightwardConfig, image_processor_classes={"pil": SightwardImageProcessor}, exist_ok=True
    )
    AutoProcessor.register(SightwardConfig, SightwardProcessor, exist_ok=True)
    AutoModelForImageTextToText.register(
        SightwardConfig, SightwardForConditionalGeneration, exist_ok=True
    )


def register() -> None:
    """Register with transformers and with vLLM. Safe to call twice."""
    from vllm import ModelRegistry

    register_with_transformers()
    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(ARCHITECTURE, f"server.vlm.vllm_model:{ARCHITECTURE}")
