"""Tower and safety modules of a reference checkpoint, without its language model [S2].

Of the checkpoint only their tensors are read, by name, and kept in the dtype that they are stored
in, which is the one that they are served in. What they say is what the whole model's rows of level
and type say, rounding aside.

Legend: B pictures, S the tower's side in pixels.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from server.concepts.fast_path import FastReading, recognised
from server.concepts.risk import Risk
from server.errors import NoFastPathError
from server.freed_memory import keep_freed_memory
from server.vlm.pixels import to_pixels
from server.vlm.safety import SafetyModules, SafetyReading
from server.vlm.safety_shape import SafetyShape
from server.vlm.tower import EfficientNetLite2Tower

if TYPE_CHECKING:
    from torch import nn

_TOWER = "embedder.tower."
_SAFETY = "safety."
_VERSION_CHARS = 12


class FastPathModel:
    """Reads pictures by the head alone. `version` is a hash of everything that it computes with."""

    def __init__(
        self, tower: EfficientNetLite2Tower, modules: SafetyModules, *, version: str
    ) -> None:
        self._tower = tower.eval()
        self._modules = modules.eval()
        self._device = next(modules.parameters()).device
        self.version = version

    def prepare(self, image: Image.Image) -> Tensor:
        """The pixels of one RGB picture: uint8 (3, S, S)."""
        return to_pixels(image)

    @torch.inference_mode()
    def read(self, pixels: Sequence[Tensor]) -> list[FastReading]:
        """What the head says of prepared pictures, in their order, from one pass."""
        features = self._tower(torch.stack(list(pixels)).to(self._device))
        return _readings(self._modules.read(features), self._modules.shape)


def load_fast_path_model(checkpoint: Path, *, device: str | None = None) -> FastPathModel:
    """The model in an assembled checkpoint's folder, by default on a GPU where there is one.

    Raises `NoFastPathError` for a folder without modules, with ones that need the language model,
    or that can't be read.
    """
    shape, grid = _shape_and_grid(checkpoint)
    on = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if on == "cpu":
        keep_freed_memory()
    tensors = _read(checkpoint)
    with torch.device("meta"):
        tower, modules = EfficientNetLite2Tower(grid), SafetyModules(shape)
    for part, prefix in ((tower, _TOWER), (modules, _SAFETY)):
        _fill(part, prefix, tensors, checkpoint, on)
    return FastPathModel(tower, modules, version=_version(shape, tensors))


def _shape_and_grid(checkpoint: Path) -> tuple[SafetyShape, int]:
    from server.vlm.config import MODEL_TYPE, SightwardConfig

    try:
        stated: Any = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
        if not isinstance(stated, dict) or stated.get("model_type") != MODEL_TYPE:
            raise NoFastPathError("only the reference VLM has one")
        config = SightwardConfig.from_pretrained(checkpoint)
        shape = config.safety_shape
    except (OSError, ValueError) as error:
        raise NoFastPathError(f"{checkpoint.name}: {error}") from error
    if shape is None:
        raise NoFastPathError("the model has no safety modules")
    if shape.reads_words:
        raise NoFastPathError("the safety head asks with what the language model has read")
    return shape, config.grid


def _read(checkpoint: Path) -> dict[str, Tensor]:
    """The tensors of tower and modules, whichever files they lie in."""
    tensors: dict[str, Tensor] = {}
    try:
        for path in sorted(checkpoint.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                names = [name for name in file.keys() if name.startswith((_TOWER, _SAFETY))]  # noqa: SIM118
                tensors |= {name: file.get_tensor(name) for name in names}
    except Exception as error:  # safetensors raises its own Rust exception types
        raise NoFastPathError(f"{checkpoint.name}: {error}") from error
    return tensors


def _fill(
    part: "nn.Module", prefix: str, tensors: Mapping[str, Tensor], checkpoint: Path, device: str
) -> None:
    own = {
        name.removeprefix(prefix): tensor.to(device)
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    try:
        part.load_state_dict(own, assign=True)
    except RuntimeError as error:
        raise NoFastPathError(f"{checkpoint.name}: {' '.join(str(error).split())}") from error


def _version(shape: SafetyShape, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(shape.to_json(), sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:_VERSION_CHARS]


def _readings(reading: SafetyReading, shape: SafetyShape) -> list[FastReading]:
    levels, types, concepts = (group.float().softmax(dim=-1).tolist() for group in reading)
    found = []
    for level, type_, concept in zip(levels, types, concepts, strict=True):
        none, warn, may, must = level
        risk = Risk((none, warn, may, must), dict(zip(shape.types, type_, strict=True)))
        named = dict(zip(shape.concepts, concept, strict=False))
        found.append(FastReading(risk, recognised(risk, named, concept[-1])))
    return found
