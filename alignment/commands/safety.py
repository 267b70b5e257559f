"""`python -m alignment safety`: S2's two stages, and how well the modules read."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from alignment.commands.starting import read_data, read_pictures, say_written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alignment.data.manifest import Example, ImageSet
    from alignment.safety.evaluation import RiskFigures
    from alignment.safety.guarded import GuardedBase

_VIEW_SEED = 2024
_LENGTH_MULTIPLE = 32

Query = Literal["learned", "text"]

safety = App(name="safety", help="Train S2's safety modules, and what answers by their hints.")

_Recipe = Annotated[str, Parameter(help="A name from `recipes`: the model and all settings.")]
_Model = Annotated[
    str | None,
    Parameter(help="A checkpoint folder or hub id of a model of the recipe's kind, instead of it."),
]
_Also = Annotated[
    tuple[str, ...],
    Parameter(help="Further data to train on: folders, or `icon_set`, which ships."),
]


@safety.command
def stage1(
    data: str,
    *,
    run: Path | None = None,
    recipe: _Recipe = "reference",
    query: Query = "learned",
    model: _Model = None,
    seed: int = 2024,
    steps: int | None = None,
    seen_tokens: int | None = None,
    also: _Also = (),
) -> None:
    """Stage 1: the modules learn level and type, the base is frozen.

    Parameters
    ----------
    data
        A folder with a manifest.jsonl, another known source of pictures, or `icon_set`.
    run
        Where checkpoints, metrics and modules go; an interrupted run goes on. Default:
        `runs/safety-stage1-` and the query.
    query
        What the head asks with: a learned vector, or the text that the language model has read too.
    seed
        Seed of everything random.
    steps
        Number of steps.
    seen_tokens
        How many learned vectors the language model sees before a picture; 0 leaves its own answers
        as they are, and there is no language loss.
    """
    from alignment.safety.guarding import digest_of, fresh_modules, guard, shape_of
    from alignment.safety.registry import safety_recipe_named
    from alignment.safety.runs import load_plain_base
    from alignment.safety.stage_one import train_stage_one

    whole = safety_recipe_named(recipe, query)
    settings = replace(whole.stage1, seed=seed)
    if steps is not None:
        settings = replace(settings, steps=steps)
    if seen_tokens is not None:
        shape = replace(settings.modules, seen_tokens=seen_tokens)
        settings = replace(settings, modules=shape)
    images = read_data(data, also)
    base = load_plain_base(model or whole.model, whole.dtype)
    learns_concepts = settings.concept_weight > 0
    guarded = guard(
        base,
        fresh_modules(shape_of(settings.modules, base, learns_concepts=learns_concepts), seed=seed),
        pictures=read_pictures(base, images, views=settings.views, seed=seed),
        length_multiple=settings.length_multiple,
    )
    path = train_stage_one(
        settings,
        images,
        guarded=guarded,
        base_digest=digest_of(guarded),
        run=run or Path(f"runs/safety-stage1-{query}"),
    )
    say_written(path)


@safety.command
def stage2(
    data: str,
    *,
    modules: Path = Path("runs/safety-stage1-learned"),
    run: Path = Path("runs/safety-stage2"),
    recipe: _Recipe = "reference",
    model: _Model = None,
    seed: int = 2024,
    steps: int | None = None,
    also: _Also = (),
) -> None:
    """Stage 2: the modules are frozen, an adapter learns answers that follow hints.

    Parameters
    ----------
    data
        A folder with a manifest.jsonl, another known source of pictures, or `icon_set`.
    modules
        The run of stage 1.
    run
        Where checkpoints, metrics and the adapter go; an interrupted run goes on.
    seed
        Seed of everything random.
    steps
        Number of steps.
    """
    from alignment.safety.guarding import guard
    from alignment.safety.registry import safety_recipe_named
    from alignment.safety.runs import load_stage_one_base, read_stage_one
    from alignment.safety.stage_two import train_stage_two

    whole = safety_recipe_named(recipe, "learned")
    sft = replace(whole.stage2.sft, seed=seed)
    if steps is not None:
        sft = replace(sft, steps=steps)
    trained = read_stage_one(modules)
    images = read_data(data, also)
    base = load_stage_one_base(modules, model or whole.model, whole.dtype)
    pictures = read_pictures(base, images, views=sft.views, seed=seed)
    if not base.is_reference_vlm:
        base = guard(
            base, trained.modules(), pictures=pictures, length_multiple=sft.length_multiple
        ).base
    folder = train_stage_two(
        replace(whole.stage2, sft=sft),
        images,
        base=base,
        modules=trained.path,
        pictures=pictures,
        run=run,
    )
    say_written(folder)
    print(f"PPO goes on from it: ppo {data} --model {base.name} --start-from {run}")


@safety.command
def attach(base: Path, modules: Path, out: Path) -> None:
    """Write a checkpoint that vLLM serves with the modules, of a LLaVA- or Qwen-VL-type base.

    The reference VLM needs none: its modules lie beside its adapter.

    Parameters
    ----------
    base
        The base's checkpoint folder, or the `merged` folder of an `export` of stage 2.
    modules
        A run of stage 1 on that base, or its safety.safetensors.
    out
        The folder to write; new, or empty.
    """
    from alignment.safety.runs import read_stage_one
    from server.vlm.attach.checkpoint import write_attached_checkpoint

    file = modules if modules.is_file() else read_stage_one(modules).path
    write_attached_checkpoint(base, file, out)
    say_written(out)


@safety.command
def evaluate(
    data: str,
    *runs: Path,
    model: _Model = None,
    split: Literal["validation", "test"] = "validation",
    json: Annotated[Path | None, Parameter(help="Write the figures to this file too.")] = None,
) -> None:
    """Print how well modules read a split: level, type, clean or not.

    A head that reads the text looks better on the validation split than it is where the base itself
    was trained on those pictures, as the reference VLM was.

    Parameters
    ----------
    data
        What the runs were trained on.
    runs
        Runs of stage 1, say one of each query, or checkpoints of the reference VLM with modules.
    split
        The part of the train split that training holds back, or the test split, which no choice
        may be made by.
    """
    from alignment.safety.evaluation import evaluate as evaluate_modules
    from alignment.safety.evaluation import write_figures
    from alignment.safety.picture_draws import validation_draws

    images = read_data(data)
    draws = validation_draws(images.split(split))
    # A test split's features are kept apart from those that are trained on.
    tested = images.split(split) if split == "test" else None
    found = {
        str(run): evaluate_modules(_guarded(run, model, images, tested), draws) for run in runs
    }
    _say(found, pictures=len(draws), split=split)
    if json is not None:
        write_figures(found, json)


def _guarded(
    run: Path, model: str | None, images: "ImageSet", examples: "Sequence[Example] | None"
) -> "GuardedBase":
    """A run's modules on the base, or a checkpoint with the modules that it carries."""
    from alignment.safety.guarding import guard, guard_carried
    from alignment.safety.runs import load_plain_base, read_stage_one

    is_checkpoint = (run / "config.json").is_file()
    modules = None if is_checkpoint else read_stage_one(run).modules()
    base = load_plain_base(str(run) if is_checkpoint else model)
    pictures = read_pictures(base, images, views=1, seed=_VIEW_SEED, examples=examples)
    if modules is None:
        return guard_carried(base, pictures=pictures, length_multiple=_LENGTH_MULTIPLE)
    return guard(base, modules, pictures=pictures, length_multiple=_LENGTH_MULTIPLE)


def _say(found: "dict[str, RiskFigures]", *, pictures: int, split: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{pictures} pictures of the {split} split")
    table.add_column("")
    for name in found:
        table.add_column(name, justify="right")
    titles = {
        "auc": "AUC of 1 - P(clean)",
        "level_auc": "AUC of 1 - P(level 0)",
        "level_accuracy": "level right",
        "level_balanced": "level right, levels alike",
        "level_error": "level off by",
        "type_accuracy": "type right",
        "type_balanced": "type right, types alike",
        "s2_type_accuracy": "S2's type right",
    }
    rows = [figures.as_dict() for figures in found.values()]
    for name, title in titles.items():
        table.add_row(title, *(_shown(row[name]) for row in rows))
    for kind, groups in (("level", "by_level"), ("", "by_type")):
        for name in rows[0][groups] if rows else ():
            table.add_row(f"  {kind} {name}", *(_shown(row[groups].get(name)) for row in rows))
    Console().print(table)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
