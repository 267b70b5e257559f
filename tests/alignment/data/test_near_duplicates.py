"""Copies are found, other pictures are left alone."""

import io
import random
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from alignment.data.near_duplicates import (
    MAX_DISTANCE,
    near_duplicate_groups,
    perceptual_hash,
)

PICTURES = 40


@cache
def scene(number: int) -> Image.Image:
    """Noise that falls off with frequency as it does in photos, 240 x 180 pixels, in colour."""
    dice = np.random.default_rng(number)
    pixels = np.zeros((180, 240, 3))
    for side in (2, 4, 8, 16, 32, 64):
        coarse = Image.fromarray(dice.integers(0, 256, (side, side, 3), dtype=np.uint8))
        pixels += np.asarray(coarse.resize((240, 180), Image.Resampling.BICUBIC)) / side
    pixels = 255 * (pixels - pixels.min()) / (pixels.max() - pixels.min())
    return Image.fromarray(pixels.astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(io.BytesIO(data.getvalue()))


def cropped(image: Image.Image, share: float) -> Image.Image:
    across, down = round(image.width * share), round(image.height * share)
    return image.crop((across, down, image.width - across, image.height - down))


@pytest.mark.parametrize(
    "copy",
    [
        lambda image: jpeg(image, 30),
        lambda image: image.resize((image.width // 3, image.height // 3)),
        lambda image: image.resize((image.width * 2, image.height)),
        lambda image: cropped(image, 0.02),
        lambda image: jpeg(cropped(image, 0.01).resize((100, 80)), 60),
        lambda image: image.convert("L"),
    ],
    ids=["jpeg", "third", "stretched", "cropped", "all of it", "grey"],
)
def test_copies_share_a_group(copy: Callable[[Image.Image], Image.Image]) -> None:
    hashes = {f"{number}": perceptual_hash(scene(number)) for number in range(PICTURES)}
    hashes |= {f"{n} copy": perceptual_hash(copy(scene(n))) for n in range(PICTURES)}
    groups = near_duplicate_groups(hashes)
    found = sum(groups[f"{n}"] == groups[f"{n} copy"] for n in range(PICTURES))
    assert found >= 0.97 * PICTURES
    assert len(set(groups.values())) >= PICTURES


def test_different_pictures_stay_alone() -> None:
    hashes = {f"{number}": perceptual_hash(scene(number)) for number in range(120)}
    assert near_duplicate_groups(hashes) == {one: one for one in hashes}


def test_blank_pictures_are_one_another_s_copies_whatever_their_colour() -> None:
    blanks = [Image.new("RGB", (50, 40), colour) for colour in ("white", "red", "black")]
    assert len({perceptual_hash(image) for image in blanks}) == 1


def test_groups_are_chains_named_by_their_smallest_id() -> None:
    step = (1 << MAX_DISTANCE) - 1
    chain = {"c": 0, "b": step, "a": step | step << MAX_DISTANCE, "d": 0xFFFF << 40}
    assert (chain["c"] ^ chain["a"]).bit_count() > MAX_DISTANCE
    assert near_duplicate_groups(chain) == {"a": "a", "b": "a", "c": "a", "d": "d"}


@given(st.lists(st.integers(0, 2**12 - 1), max_size=60), st.integers(0, 4))
def test_groups_are_those_of_comparing_each_with_each(values: list[int], distance: int) -> None:
    hashes = {f"{index:03}": value << 40 for index, value in enumerate(values)}
    group = {one: {one} for one in hashes}
    for one in hashes:
        for other in hashes:
            if (hashes[one] ^ hashes[other]).bit_count() <= distance:
                joined = group[one] | group[other]
                for member in joined:
                    group[member] = joined
    assert near_duplicate_groups(hashes, max_distance=distance) == {
        one: min(group[one]) for one in hashes
    }


def test_more_pictures_than_are_compared_at_once() -> None:
    dice = random.Random(0)
    hashes = {f"{index:05}": dice.getrandbits(64) for index in range(1500)}
    hashes |= {f"{index:05} copy": hashes[f"{index:05}"] ^ 0b1001 for index in range(0, 1500, 7)}
    groups = near_duplicate_groups(hashes)
    assert all(groups[one] == one.removesuffix(" copy") for one in hashes)
