"""From an RGB picture to the uint8 pixels that the tower reads."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from server.vlm.tower import IMAGE_SIZE


def to_pixels(image: Image.Image) -> Tensor:
    """Squash a picture to the tower's square: uint8 (3, S, S).

    The whole picture is kept, its aspect is not: what a moderator must see may stand at the edge,
    and a crop would hide it. `reducing_gap` lets Pillow shrink large pictures cheaply first.
    """
    small = image.convert("RGB").resize(
        (IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC, reducing_gap=3.0
    )
    return torch.from_numpy(np.array(small)).permute(2, 0, 1)
