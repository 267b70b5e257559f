"""Cached tower features: right rows, whole files, no work done twice."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from alignment import features
from alignment.data.manifest import ImageSet
from alignment.features import build_features
from server.vlm.packaged_weights import load_tower_weights
from server.vlm.pixels import to_pixels
from server.vlm.tower import EfficientNetLite2Tower


def test_a_row_is_the_towers_output(images: ImageSet, tmp_path: Path) -> None:
    cache = build_features(images, images.examples, root=tmp_path, grid=2, views=1, seed=1)
    reader = cache.open_views()
    tower = EfficientNetLite2Tower(2).eval()
    tower.load_state_dict(load_tower_weights())
    for example in images.examples[:3]:
        pixels = to_pixels(Image.open(images.path_of(example)))[None]
        with torch.inference_mode():
            expected = tower(pixels)[0]
        read = reader.read(example.id, 0).float()
        assert torch.nn.functional.cosine_similarity(read, expected, dim=-1).min() > 0.99


def test_a_killed_build_goes_on_with_the_missing_views(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views: list[int] = []
    real = features._tower_batches

    def counted(*args, view, **kwargs):  # type: ignore[no-untyped-def]
        views.append(view)
        if len(views) == 2:
            raise KeyboardInterrupt
        return real(*args, view=view, **kwargs)

    monkeypatch.setattr(features, "_tower_batches", counted)
    some = images.examples[:2]
    with pytest.raises(KeyboardInterrupt):
        build_features(images, some, root=tmp_path, grid=2, views=3, seed=1)
    build_features(images, some, root=tmp_path, grid=2, views=3, seed=1)
    assert views == [0, 1, 1, 2]
    assert not list(tmp_path.rglob("*.partial"))


def test_other_pictures_make_another_cache(images: ImageSet, tmp_path: Path) -> None:
    one = build_features(images, images.examples[:1], root=tmp_path, grid=2, views=1, seed=1)
    other = build_features(images, images.examples[1:2], root=tmp_path, grid=2, views=1, seed=1)
    assert one.folder != other.folder
