from itertools import combinations

import numpy as np
import pytest

from benchmarks.capabilities.general.shapes import (
    ALIKE,
    COLOURS,
    PATTERNS,
    SHAPES,
    SIDE_PX,
    Figure,
    Scene,
)


def _share_of(colour: str, scene: Scene) -> float:
    pixels = np.asarray(scene.draw())
    return float((pixels == COLOURS[colour]).all(axis=-1).mean())


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_same_scene_is_the_same_pixels(pattern: str) -> None:
    scene = Scene((Figure("star", "blue", (0.5, 0.5), 0.3),), pattern, seed=3)

    first, second = scene.draw(), scene.draw()

    assert first.size == (SIDE_PX, SIDE_PX)
    assert first.mode == "RGB"
    assert first.tobytes() == second.tobytes()


def test_another_seed_or_pattern_is_another_background() -> None:
    figures = (Figure("circle", "red", (0.5, 0.5), 0.2),)
    pictures = {
        Scene(figures, pattern, seed).draw().tobytes() for pattern in PATTERNS for seed in range(4)
    }

    assert len(pictures) > len(PATTERNS)


@pytest.mark.parametrize("shape", list(SHAPES))
def test_every_shape_fills_a_good_part_of_its_circle_and_stays_inside_the_picture(
    shape: str,
) -> None:
    pixels = np.asarray(Scene((Figure(shape, "blue", (0.5, 0.5), 0.32),), "plain", 1).draw())
    drawn = (pixels == COLOURS["blue"]).all(axis=-1)

    assert 0.06 < drawn.mean() < 0.4
    edge = np.concatenate([drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]])
    assert not edge.any()


def test_a_circle_has_the_area_of_a_circle() -> None:
    share = _share_of("green", Scene((Figure("circle", "green", (0.5, 0.5), 0.25),), "plain", 1))

    assert share == pytest.approx(np.pi * 0.25**2, rel=0.03)


@pytest.mark.parametrize("colour", list(COLOURS))
@pytest.mark.parametrize("seed", range(4))
def test_figures_stand_out_from_their_background(colour: str, seed: int) -> None:
    scene = Scene((Figure("circle", colour, (0.5, 0.5), 0.2),), "checks", seed)
    corner = np.asarray(scene.draw()).astype(int)[:40, :40].reshape(-1, 3)

    distances = np.abs(corner - np.array(COLOURS[colour])).max(axis=1)

    assert distances.min() > 50


def test_colours_that_are_not_alike_are_far_apart() -> None:
    for one, other in combinations(COLOURS, 2):
        if frozenset((one, other)) not in ALIKE:
            assert np.abs(np.subtract(COLOURS[one], COLOURS[other])).max() > 60, (one, other)
