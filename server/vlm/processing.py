"""Pictures and text to model inputs, for transformers and for vLLM alike."""

from typing import Any

import numpy as np
from PIL import Image
from transformers import BatchFeature, ProcessorMixin
from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_utils import make_flat_list_of_images, to_numpy_array

from server.vlm.config import IMAGE_TOKEN
from server.vlm.pixels import to_pixels


class SightwardImageProcessor(BaseImageProcessor):
    """Squashes pictures to the tower's square and keeps them uint8; needs Pillow alone."""

    model_input_names = ["pixel_values"]  # noqa: RUF012 - transformers' own interface

    def preprocess(self, images: Any, return_tensors: Any = None, **kwargs: Any) -> BatchFeature:
        """Turn one or more pictures into ``pixel_values`` uint8 (B, 3, side, side)."""
        del kwargs
        pixels = [to_pixels(_as_picture(image)) for image in _flat(images)]
        return BatchFeature({"pixel_values": pixels}, tensor_type=return_tensors)


def _flat(images: Any) -> list[Any]:
    pictures: Any = make_flat_list_of_images(images)
    return list(pictures)


def _as_picture(image: Any) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    array = to_numpy_array(image)
    if array.shape[0] == 3 and array.shape[-1] != 3:
        array = array.transpose(1, 2, 0)
    return Image.fromarray(array.astype(np.uint8))


class SightwardProcessor(ProcessorMixin):
    """Tokenizer and image processor together; one placeholder becomes an image's positions.

    `image_positions` is how many placeholders stand for one picture.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        image_positions: int = 40,
        **kwargs: Any,
    ) -> None:
        self.image_positions = image_positions
        self.image_token = IMAGE_TOKEN
        super().__init__(  # type: ignore[no-untyped-call]
            image_processor, tokenizer, chat_template=chat_template, **kwargs
        )

    def __call__(
        self,
        images: Any = None,
        text: str | list[str] | None = None,
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Encode prompts and the pictures of their placeholders; either may be left out."""
        data: dict[str, Any] = {}
        if images is not None and (pictures := _flat(images)):
            data.update(self.image_processor(pictures, return_tensors=return_tensors))
        if text is not None:
            texts = [text] if isinstance(text, str) else list(text)
            if images is not None:
                texts = [
                    one.replace(IMAGE_TOKEN, IMAGE_TOKEN * self.image_positions) for one in texts
                ]
            for name in ("images_kwargs", "videos_kwargs", "audio_kwargs", "text_kwargs"):
                kwargs.pop(name, None)
            data.update(self.tokenizer(texts, return_tensors=return_tensors, **kwargs))
        return BatchFeature(data, tensor_type=return_tensors)

    @property
    def model_input_names(self) -> list[str]:
        """Names of everything `__call__` may return."""
        return ["input_ids", "attention_mask", "pixel_values"]
