"""Loading a checkpoint's processor for pictures and words alone.

Two choices, the same on every machine: pictures go through Pillow, so that a machine with
torchvision and one without see the same pixels; and what handles videos is left out, since nobody
asks about one and it can't be loaded without torchvision.
"""

from typing import Any

_VIDEO = "video_processor"


def load_processor(argument: str, config: Any, **options: Any) -> Any:
    """The processor of a checkpoint folder or hub id, its tokenizer padding on the left.

    `options` go to `from_pretrained`. Raises what that raises.
    """
    from transformers import AutoProcessor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    options = {"backend": "pil", **options}
    known = PROCESSOR_MAPPING.get(type(config), None)
    if known is None:
        processor = AutoProcessor.from_pretrained(argument, config=config, **options)
    else:
        processor = _without_video(known).from_pretrained(argument, **options)
    pad_left(processor.tokenizer)
    return processor


def pad_left(tokenizer: Any) -> None:
    """Pad before the words, so that every row's next token is at the last position."""
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        # Never read: the attention mask covers it.
        tokenizer.pad_token = tokenizer.eos_token


def _without_video(processor_class: Any) -> Any:
    if _VIDEO not in processor_class.get_attributes():
        return processor_class

    class PicturesOnly(processor_class):  # type: ignore[misc]
        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in super().get_attributes() if name != _VIDEO]

    # Its name is what files and messages call it.
    PicturesOnly.__name__ = processor_class.__name__
    PicturesOnly.__qualname__ = processor_class.__qualname__
    return PicturesOnly
