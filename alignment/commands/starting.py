"""What the commands that align start from: shared options, the recipe, the base, its pictures."""

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

from cyclopts import Parameter

from server.vlm.references import BASE, Reference, reference_named

if TYPE_CHECKING:
    from alignment.data.manifest import Example, ImageSet
    from alignment.policy_base import PolicyBase
    from alignment.policy_vision import PictureReader
    from alignment.ppo_recipe import PpoRecipe
    from alignment.recipe_book.model_recipe import ModelRecipe
    from alignment.recipes_alignment import DpoRecipe, SftRecipe

MethodRecipeT = TypeVar("MethodRecipeT", "PpoRecipe", "SftRecipe", "DpoRecipe")


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class AlignOptions:
    """What `sft`, `dpo` and `ppo` take beside their data; None leaves the recipe's own."""

    run: Annotated[
        Path | None,
        Parameter(
            help="Where checkpoints, metrics and the adapter go; an interrupted run goes on. "
            "Default: `runs/` and the command's name."
        ),
    ] = None
    recipe: Annotated[str, Parameter(help="A name from `recipes`: the model and all settings.")] = (
        "reference"
    )
    model: Annotated[
        str | None,
        Parameter(help="A checkpoint folder or hub id of any VLM, instead of the recipe's."),
    ] = None
    seed: Annotated[int, Parameter(help="Seed of everything random.")] = 2024
    steps: Annotated[int | None, Parameter(help="Number of steps.")] = None
    micro_batch_size: Annotated[
        int | None, Parameter(help="Rows a pass: fewer take less memory and more time.")
    ] = None
    gradient_checkpointing: Annotated[
        bool | None, Parameter(help="Compute layers again on the way back: less memory, slower.")
    ] = None
    lora_r: Annotated[
        int | None, Parameter(help="The adapter's rank; alpha follows in proportion.")
    ] = None
    also: Annotated[
        tuple[str, ...],
        Parameter(help="Further data to train on: folders, or `icon_set`, which ships."),
    ] = ()
    dry_run: Annotated[
        bool, Parameter(help="Say what memory it would take, and stop.", negative="")
    ] = False


@dataclass(frozen=True, slots=True)
class Start(Generic[MethodRecipeT]):
    """A recipe of the book with the command line's changes, and one method of it."""

    whole: "ModelRecipe"
    recipe: MethodRecipeT
    model: str | None

    @property
    def source(self) -> str | Path:
        """The checkpoint to load; the reference VLM is assembled when it is not there yet."""
        if self._reference is None:
            return self.model or ""
        from server.vlm.assembly import assemble

        return assemble(reference=self._reference)

    @property
    def _reference(self) -> Reference | None:
        """The variant of the reference VLM to start from; training starts from the base."""
        return BASE if self.model is None else reference_named(self.model)

    def load(self) -> "PolicyBase":
        """Load the base. Raises PolicyModelError."""
        from alignment.policy_base import load_base

        return load_base(
            self.source,
            dtype=self.whole.dtype,
            processor_options=self.whole.processor_options,
        )

    def say_memory(self) -> None:
        """Print the estimate, from the configuration alone, and a warning if it is too much."""
        if int(os.environ.get("RANK", "0")) > 0:
            return
        from rich.console import Console

        from alignment.memory.estimate import Layout, estimate, with_less
        from alignment.memory.outline import read_config
        from alignment.memory.report import gib, memory_table
        from server.engine.model_requirements import measure_machine

        machine = measure_machine()
        config, positions = read_config(self.source), self._picture_positions()
        layout = Layout.of(
            self.recipe,
            positions,
            is_reference_vlm=self._reference is not None,
            processes=int(os.environ.get("WORLD_SIZE", "1")),
        )
        estimated = estimate(
            config,
            self.recipe,
            layout,
            name=str(self.source),
            dtype=self.whole.dtype,
            on_gpu=machine.gpu_name is not None,
        )
        where, free = machine.memory
        known = "unknown" if free is None else f"{gib(free)} GiB"
        console = Console()
        console.print(
            memory_table(
                estimated,
                self.recipe,
                layout,
                dtype=self.whole.dtype,
                free=f"{known} free of {where}",
            )
        )
        warning = None if free is None else with_less(estimated, layout, free)
        if warning is not None:
            console.print(f"[yellow]warning:[/] {warning}", highlight=False)

    def _picture_positions(self) -> int:
        if self.model == self.whole.model:
            return self.whole.picture_positions
        from alignment.memory.outline import read_config
        from alignment.memory.picture_positions import picture_positions

        source = self.source
        return picture_positions(source, read_config(source), self.whole.processor_options)


def choose(
    options: AlignOptions,
    method: Callable[["ModelRecipe"], MethodRecipeT],
    *,
    max_new_tokens: int | None = None,
) -> Start[MethodRecipeT]:
    """The recipe's part for one method, changed as the options say.

    Raises UnknownRecipeError and OverrideError.
    """
    from alignment.recipe_book.overrides import Overrides, overridden
    from alignment.recipe_book.registry import recipe_named

    whole = recipe_named(options.recipe)
    changes = Overrides(
        seed=options.seed,
        steps=options.steps,
        micro_batch_size=options.micro_batch_size,
        gradient_checkpointing=options.gradient_checkpointing,
        lora_r=options.lora_r,
        max_new_tokens=max_new_tokens,
    )
    return Start(whole, overridden(method(whole), changes), options.model or whole.model)


def read_data(data: str, also: Sequence[str] = ()) -> "ImageSet":
    """The data to train on, with a part of `data`'s train split held back as "validation".

    Of the sets in `also` only the train split is taken. Raises a `DataError`.
    """
    from alignment.data.sources import open_image_set
    from alignment.data.union import union
    from alignment.data.validation import with_validation

    images = open_image_set(data)
    if images.split("train"):
        images = with_validation(images)
    others = [open_image_set(name) for name in also]
    return union(images, *(other.with_examples(other.split("train")) for other in others))


def read_pictures(
    base: "PolicyBase",
    images: "ImageSet",
    *,
    views: int,
    seed: int,
    examples: "Sequence[Example] | None" = None,
) -> "PictureReader":
    """Views of the pictures: the reference VLM's from its tower's cache.

    Of all but the test split's, unless `examples` are named.
    """
    from alignment.prompt_sampler import ViewReader

    if examples is None:
        examples = [example for example in images.examples if example.split not in (None, "test")]
    # Without a train split training is refused; there is nothing to compute for it.
    if not base.is_reference_vlm or not examples:
        return ViewReader(images, seed=seed)
    from alignment.features import build_features
    from server.vlm.cache import cache_root

    # A cache for each folder, so that a set's features serve every union that it is part of.
    by_folder: defaultdict[Path, list[Example]] = defaultdict(list)
    for example in examples:
        by_folder[images.folder_of(example)].append(example)
    readers = {}
    for together in by_folder.values():
        reader = build_features(
            images,
            together,
            root=cache_root(),
            grid=base.model.config.grid,
            views=views,
            seed=seed,
        ).open_views()
        readers.update(dict.fromkeys((example.id for example in together), reader))
    return lambda example_id, view: readers[example_id].read(example_id, view)


def say_written(path: Path) -> None:
    """Tell where a command's result is."""
    print(f"wrote {path}")
