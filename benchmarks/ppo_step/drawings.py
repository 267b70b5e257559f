"""Prompts about generated pictures: the step's cost depends on their number, not on what they show.

Labels take turns; they mean nothing here.
"""

import json
import random
from pathlib import Path

from PIL import Image

from alignment.augment import view_of
from alignment.data.manifest import MANIFEST_NAME, ImageSet, read_image_set
from alignment.prompts import AlignmentPrompt
from benchmarks.capabilities.general.shapes import COLOURS, PATTERNS, SHAPES, Figure, Scene


def draw_set(folder: Path, *, count: int, seed: int) -> ImageSet:
    """Draw `count` pictures into `folder`, half of them labelled unsafe, all to train on."""
    chance = random.Random(f"drawings/{seed}")  # noqa: S311 - nothing secret
    lines = []
    for number in range(count):
        figure = Figure(
            shape=chance.choice(sorted(SHAPES)),
            colour=chance.choice(sorted(COLOURS)),
            centre=(chance.uniform(0.35, 0.65), chance.uniform(0.35, 0.65)),
            radius=chance.uniform(0.15, 0.3),
            turn=chance.uniform(0.0, 360.0),
        )
        name = f"{number:04d}.png"
        Scene((figure,), chance.choice(PATTERNS), chance.randrange(1 << 30)).draw().save(
            folder / name
        )
        lines.append(
            {
                "id": f"drawing-{number:04d}",
                "file": name,
                "label": "Unsafe" if number % 2 else "Safe",
                "concept": "" if number % 2 else f"a {figure.colour} {figure.shape}",
                "caption": f"a {figure.colour} {figure.shape}",
                "style": "drawing",
                "split": "train",
            }
        )
    (folder / MANIFEST_NAME).write_text(
        "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )
    return read_image_set(folder, name="drawings")


class DecodedViews:
    """The views that some prompts show, decoded beforehand: a `PictureReader`."""

    def __init__(
        self, images: ImageSet, prompts: tuple[AlignmentPrompt, ...], *, seed: int
    ) -> None:
        by_id = {example.id: example for example in images.examples}
        self._views: dict[tuple[str, int], Image.Image] = {}
        for prompt in prompts:
            if prompt.example_id is None:
                continue
            example = by_id[prompt.example_id]
            self._views[example.id, prompt.view] = view_of(
                images.open(example),
                style=example.style,
                key=example.id,
                view=prompt.view,
                seed=seed,
            )

    def __call__(self, example_id: str, view: int) -> Image.Image:
        """The picture itself."""
        return self._views[example_id, view]

    def items(self) -> list[tuple[tuple[str, int], Image.Image]]:
        """Every view with its name."""
        return list(self._views.items())
