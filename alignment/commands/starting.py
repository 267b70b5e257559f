"""What the commands that align start from: their shared options, the base and its pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from alignment.data.manifest import ImageSet
from server.vlm.cache import cache_root

if TYPE_CHECKING:
    from alignment.policy_base import PolicyBase
    from alignment.policy_vision import PictureReader


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class AlignOptions:
    """What `sft`, `dpo` and `ppo` take beside their data."""

    run: Annotated[
        Path | None,
        Parameter(
            help="Where checkpoints, metrics and the adapter go; an interrupted run goes on. "
            "Default: `runs/` and the command's name."
        ),
    ] = None
    model: Annotated[
        str | None,
        Parameter(help="A checkpoint folder or hub id of any VLM; the reference VLM by default."),
    ] = None
    recipe: Annotated[
        Literal["reference", "s1"],
        Parameter(help="Settings: the reference VLM's, or the paper's for LLaVA-1.5-7B."),
    ] = "reference"
    steps: Annotated[int | None, Parameter(help="Overrides the recipe's number of steps.")] = None
    seed: Annotated[int, Parameter(help="Seed of everything random.")] = 2024


def load_start(model: str | None) -> "PolicyBase":
    """The model to start from: `model`, or the reference VLM."""
    from alignment.policy_base import load_base
    from server.vlm.assembly import assemble

    return load_base(assemble() if model is None else model)


def read_pictures(
    base: "PolicyBase", images: ImageSet, *, views: int, seed: int
) -> "PictureReader":
    """Views of the train split: the reference VLM's from its tower's cache, others as pictures."""
    from alignment.prompt_sampler import ViewReader

    train = images.split("train")
    # Without a train split training is refused; there is nothing to compute for it.
    if not base.is_reference_vlm or not train:
        return ViewReader(images, seed=seed)
    from alignment.features import build_features

    cache = build_features(
        images,
        train,
        root=cache_root(),
        grid=base.model.config.grid,
        views=views,
        seed=seed,
    )
    return cache.open_views().read


def say_written(path: Path) -> None:
    """Tell where a command's result is."""
    print(f"wrote {path}")
