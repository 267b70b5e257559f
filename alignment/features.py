"""The frozen tower's features, computed once an augmented view and kept on disk.

The tower never changes, so its output for a given view of a picture never changes either. A cache
is a folder with one safetensors file a view: ``features`` bf16 (N, G * G, C), N in the order of the
examples given. A view's file appears whole or not at all, so a killed run goes on where it was.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from rich.progress import Progress
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from alignment.augment import view_of
from alignment.data.manifest import Example, ImageSet
from server.vlm.packaged_weights import load_tower_weights, tower_file
from server.vlm.pixels import to_pixels
from server.vlm.tower import CHANNELS, EfficientNetLite2Tower

# Raise when augmentation or pixels change meaning: old caches are then left alone and unread.
_FORMAT = 2
_BATCH_SIZE = 16


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """Features of some examples in every view. `row_of` maps an example's id to its row."""

    folder: Path
    views: int
    row_of: dict[str, int]

    def open_views(self) -> "FeatureReader":
        """Map the files into memory."""
        return FeatureReader(self)


class FeatureReader:
    """Reads single rows out of memory-mapped view files."""

    def __init__(self, cache: FeatureCache) -> None:
        self._row_of = cache.row_of
        self._slices = [
            safe_open(cache.folder / _view_name(view), framework="pt").get_slice("features")
            for view in range(cache.views)
        ]

    def read(self, example_id: str, view: int) -> Tensor:
        """Features bf16 (G * G, C) of one view of one example."""
        row = self._row_of[example_id]
        features: Tensor = self._slices[view][row]
        return features


def build_features(
    images: ImageSet,
    examples: Sequence[Example],
    *,
    root: Path,
    grid: int,
    views: int,
    seed: int,
) -> FeatureCache:
    """Compute what is missing of `views` views of the examples and return the cache."""
    folder = root / "features" / _key(images, examples, grid=grid, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [view for view in range(views) if not (folder / _view_name(view)).is_file()]
    if missing:
        tower = EfficientNetLite2Tower(grid)
        tower.load_state_dict(load_tower_weights())
        tower = tower.to(torch.bfloat16).eval()
        with Progress() as progress:
            task = progress.add_task("tower features", total=len(missing) * len(examples))
            for view in missing:
                features = torch.empty(len(examples), grid * grid, CHANNELS, dtype=torch.bfloat16)
                filled = 0
                for batch in _tower_batches(tower, images, examples, view=view, seed=seed):
                    features[filled : filled + len(batch)] = batch
                    filled += len(batch)
                    progress.advance(task, len(batch))
                _write_whole(features, folder / _view_name(view))
    return FeatureCache(folder, views, {example.id: row for row, example in enumerate(examples)})


class _Views(Dataset[Tensor]):
    def __init__(self, images: ImageSet, examples: Sequence[Example], view: int, seed: int) -> None:
        self._images, self._examples = images, examples
        self._view, self._seed = view, seed

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Tensor:
        example = self._examples[index]
        with Image.open(self._images.path_of(example)) as image:
            seen = view_of(
                image.convert("RGB"),
                style=example.style,
                key=example.id,
                view=self._view,
                seed=self._seed,
            )
        return to_pixels(seen)


@torch.inference_mode()
def _tower_batches(
    tower: EfficientNetLite2Tower,
    images: ImageSet,
    examples: Sequence[Example],
    *,
    view: int,
    seed: int,
) -> Iterator[Tensor]:
    loader = DataLoader(_Views(images, examples, view, seed), batch_size=_BATCH_SIZE)
    for pixels in loader:
        yield tower(pixels)


def _write_whole(features: Tensor, path: Path) -> None:
    partial = path.with_suffix(f".{os.getpid()}.partial")
    save_file({"features": features}, partial)
    partial.replace(path)


def _view_name(view: int) -> str:
    return f"view-{view:03d}.safetensors"


def _key(images: ImageSet, examples: Sequence[Example], *, grid: int, seed: int) -> str:
    """What a view depends on: not on labels or splits, so that other splits reuse the features."""
    digest = hashlib.sha256(f"{_FORMAT}:{grid}:{seed}".encode())
    for example in examples:
        file_hash = images.image_sha256[example.id]
        digest.update(f"\n{example.id}\0{example.style}\0{file_hash}".encode())
    digest.update(tower_file().read_bytes())
    return digest.hexdigest()[:16]
