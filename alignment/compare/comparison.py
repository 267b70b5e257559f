"""The comparison: train what is not trained, measure what is not measured, draw the table anew.

Stopped at any point, it goes on with the same command: finished runs are not made again, a run that
was killed goes on from its last checkpoint, a measurement from its last block. More seeds or
methods can be added to a finished comparison.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from alignment.compare.contestant_figures import ModelFigures, contestant_figures
from alignment.compare.errands import (
    Errands,
    as_typed,
    inside_command,
    outside_command,
    risk_command,
    training_command,
)
from alignment.compare.plan import INSIDE, OPEN_SET, OUTSIDE, ComparisonConfig, Contestant
from alignment.data.manifest import ImageSet
from alignment.ppo_recipe import PpoRecipe
from alignment.responses.protocol import ResponseClassifier
from alignment.run_identity import claim_run
from alignment.safety.recipes import StageOneRecipe


@dataclass(frozen=True, slots=True)
class Domain:
    """The pictures outside: `ids` are theirs where each is a picture of the measured split too.

    Such a set is no other domain, only a part of this one, and is not asked about twice.
    """

    images: ImageSet | None
    ids: frozenset[str] | None

    @property
    def needs_own_measurement(self) -> bool:
        """Whether there are pictures outside that the main measurement doesn't have."""
        return self.images is not None and self.ids is None


@dataclass(frozen=True, slots=True)
class Todo:
    """A contestant, what its training is in words, and what is left to do as commands to type."""

    contestant: Contestant
    work: str
    commands: tuple[str, ...]


class Comparison:
    """One comparison. `base` is the checkpoint folder or hub id that all start from."""

    def __init__(
        self,
        config: ComparisonConfig,
        images: ImageSet,
        *,
        base: str,
        domain: Domain,
        judge: ResponseClassifier,
    ) -> None:
        self.config = config
        self.images = images
        self.base = base
        self.domain = domain
        self.judge = judge

    def todo(self) -> list[Todo]:
        """All contestants, the base first, with the commands that are left."""
        return [
            Todo(
                one,
                work_of(one, self.config),
                tuple(as_typed(command) for command, _ in self._commands(one)),
            )
            for one in (self.config.base, *self.config.trained())
        ]

    def run(
        self, errands: Errands, *, on_done: Callable[[Contestant], None] = lambda _: None
    ) -> None:
        """Do all that is left; `on_done` is called when a contestant is measured.

        Raises OtherRunError for a folder with another comparison, and ErrandError.
        """
        self._claim()
        for contestant in (self.config.base, *self.config.trained()):
            for command, log in self._commands(contestant):
                errands.run(command, log=log)
            self._clear(contestant)
            on_done(contestant)

    def figures(self) -> dict[Contestant, ModelFigures]:
        """The figures of every contestant that is measured, in their order."""
        measured = [
            one for one in (self.config.base, *self.config.trained()) if self._is_measured(one)
        ]
        return {
            one: contestant_figures(one, self.judge, outside_ids=self.domain.ids)
            for one in measured
        }

    def _commands(self, contestant: Contestant) -> list[tuple[list[str], Path]]:
        """What is left to do for one, in order, with the log it goes to."""
        if self._is_measured(contestant):
            return []
        config, checkpoint = self.config, str(contestant.merged)
        commands: list[tuple[list[str], Path]] = []
        if contestant.method is None:
            checkpoint = self.base
        elif not contestant.merged.is_dir():
            command = training_command(config, contestant, self.base)
            commands.append((command, contestant.folder / "training.log"))
        log = contestant.folder / "measuring.log"
        inside, outside = contestant.record(INSIDE), contestant.record(OUTSIDE)
        if not inside.is_file():
            commands.append((inside_command(config, checkpoint, inside.parent), log))
        if self.domain.needs_own_measurement and not outside.is_file():
            commands.append((outside_command(config, checkpoint, outside.parent), log))
        if contestant.risk is not None and not contestant.risk.is_file():
            commands.append((risk_command(config, checkpoint, contestant.risk), log))
        return commands

    def _is_measured(self, contestant: Contestant) -> bool:
        files = [contestant.record(INSIDE)]
        if self.domain.needs_own_measurement:
            files.append(contestant.record(OUTSIDE))
        if contestant.risk is not None:
            files.append(contestant.risk)
        return all(file.is_file() for file in files)

    def _clear(self, contestant: Contestant) -> None:
        """A merged checkpoint is as large as the base, and can be merged again from its run."""
        if not self.config.keeps_checkpoints:
            shutil.rmtree(contestant.merged, ignore_errors=True)

    def _claim(self) -> None:
        config = self.config
        claim_run(
            config.out,
            {
                "recipe": config.recipe,
                "base": Path(self.base).name,
                "steps": config.steps,
                "view_seed": config.view_seed,
                "data": self.images.sha256,
                "measure": asdict(config.measure),
            },
        )


def work_of(contestant: Contestant, config: ComparisonConfig) -> str:
    """What is trained, in words."""
    from alignment.compare.training import recipe_of
    from alignment.recipe_book.registry import recipe_named

    if contestant.method is None or contestant.seed is None:
        return "nothing to train"
    recipe = recipe_of(
        recipe_named(config.recipe), contestant.method, seed=contestant.seed, steps=config.steps
    )
    if isinstance(recipe, StageOneRecipe):
        return f"{recipe.steps} steps of {recipe.pictures_per_step} pictures"
    size = recipe.answers_per_step if isinstance(recipe, PpoRecipe) else recipe.batch_size
    return f"{recipe.steps} steps of {size} answers"


def find_domain(config: ComparisonConfig, images: ImageSet) -> Domain:
    """Open the set that stands for another domain. Raises DataError."""
    if config.measure.outside is None:
        return Domain(None, None)
    outside = _open(config.measure.outside)
    measured = images.split(config.measure.split) if images.is_split else images.examples
    of_file = {images.image_sha256[one.id]: one.id for one in measured}
    held_out = outside.held_out()
    inside = [of_file.get(outside.image_sha256[one.id]) for one in held_out]
    ids = frozenset(one for one in inside if one is not None)
    return Domain(outside, ids if len(ids) == len(held_out) else None)


def _open(data: str) -> ImageSet:
    if data == OPEN_SET:
        from alignment.data.open_set import read_open_set

        return read_open_set()
    from alignment.data.sources import open_image_set

    return open_image_set(data)
