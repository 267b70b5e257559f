"""The changes that an administrator, or the settings, make to the models: one at a time.

The default before stays loaded unless memory matters more: a roll back that first has to load a
model is none. Whatever is refused says why and has changed nothing.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from server.api.engine_session import EngineRecipe
from server.engine.protocol import Engine
from server.errors import (
    EngineUnavailableError,
    ModelConflictError,
    ModelUnfitError,
    SightwardError,
)
from server.rollout.hosted import HostedModel, ModelState
from server.rollout.journal import BY_SETTINGS
from server.rollout.model_set import ModelSet
from server.rollout.orders import ModelOrder
from server.rollout.parts import ModelMaker, ModelParts
from server.rollout.roles import Role, Share
from server.startup_check import check_readable

_log = structlog.get_logger("server")


@dataclass(frozen=True, slots=True)
class Declared:
    """A canary or shadow that the settings name: loaded once the default has been."""

    order: ModelOrder
    role: Literal[Role.CANARY, Role.SHADOW]
    percent: float


@dataclass(frozen=True, slots=True)
class ChangeRules:
    """How many models may be loaded at once.

    Without `keeps_previous` the default before is unloaded, for its memory, and there is no roll
    back.
    """

    max_models: int = 4
    keeps_previous: bool = True


class ModelChanges:
    """Changes `models`; used from one event loop.

    `maker` makes the parts of further models, None where there can be none, and `recipe_of` what
    brings parts to life.
    """

    def __init__(
        self,
        models: ModelSet,
        *,
        maker: ModelMaker | None,
        recipe_of: Callable[[ModelParts], EngineRecipe],
        rules: ChangeRules,
    ) -> None:
        self.models = models
        self._maker = maker
        self._recipe_of = recipe_of
        self._rules = rules
        self._changing = asyncio.Lock()

    async def load(self, order: ModelOrder, *, name: str, key_id: str) -> HostedModel:
        """Begin loading a model, which stands by once it is ready; what answers goes on.

        Raises `ModelConflictError` for a name that is taken, too many models or another that is
        being loaded, and `ModelUnfitError` for a model that can't be served here.
        """
        async with self._changing:
            self._require_room(name)
            on = self.models.roles.default if order.spec is None else None
            recipe = self._recipe_of(await self._parts(order, on))
            hosted = self.models.add(name, order, recipe, on)
            hosted.host.start()
            self.models.note("load", hosted, key_id)
            return hosted

    async def give_role(self, name: str, role: Role, percent: float, *, key_id: str) -> HostedModel:
        """Make a model the canary or the shadow with a share of the contents, or have it stand by.

        One that is not ready gets its share once it is. Raises `UnknownHostedModelError`, and
        `ModelConflictError` for the default.
        """
        async with self._changing:
            hosted = self.models.named(name)
            if name == self.models.roles.default or role is Role.DEFAULT:
                raise ModelConflictError(
                    "the default is made by promoting a model, or rolling back"
                )
            if hosted.is_retiring:
                raise ModelConflictError(f"{name} is being unloaded")
            if role is Role.STANDBY:
                self.models.roles = self.models.roles.standing_by(name)
            else:
                self.models.roles = self.models.roles.with_share(role, Share(name, percent))
            self.models.note("role", hosted, key_id)
            return hosted

    async def promote(self, name: str, *, key_id: str) -> HostedModel:
        """Make a model the default for every call that begins from now on.

        Raises `UnknownHostedModelError`, and `ModelConflictError` unless it answers right now.
        """
        async with self._changing:
            return await self._promote(self.models.named(name), "promote", key_id)

    async def roll_back(self, *, key_id: str) -> HostedModel:
        """Make the default before the default again; once more, and it is undone.

        Raises `ModelConflictError` where none is loaded, or it does not answer.
        """
        async with self._changing:
            if self.models.roles.previous is None:
                raise ModelConflictError("no default before this one is loaded")
            return await self._promote(
                self.models.named(self.models.roles.previous), "roll_back", key_id
            )

    async def unload(self, name: str, *, key_id: str) -> HostedModel:
        """Take a model's role at once and stop it when nothing can be asking it any more.

        Raises `UnknownHostedModelError`, and `ModelConflictError` for the default and for a model
        on whose weights another is served.
        """
        async with self._changing:
            hosted = self.models.named(name)
            if name == self.models.roles.default:
                raise ModelConflictError("the default can't be unloaded: promote another first")
            guests = self.models.guests_of(name)
            if guests:
                raise ModelConflictError(f"{', '.join(guests)} is served on its weights")
            if hosted.is_retiring:
                raise ModelConflictError(f"{name} is being unloaded")
            self.models.retire(hosted)
            self.models.note("unload", hosted, key_id)
            return hosted

    async def load_declared(self, every: Sequence[Declared]) -> None:
        """Load what the settings declare, one after another, once the default has been loaded."""
        await self.models.default.host.settled()
        for declared in every:
            name = self._free_name(declared.order.name)
            try:
                hosted = await self.load(declared.order, name=name, key_id=BY_SETTINGS)
                await self.give_role(name, declared.role, declared.percent, key_id=BY_SETTINGS)
            except SightwardError as error:
                _log.error("model not loaded", model=name, role=declared.role, reason=str(error))
                continue
            await hosted.host.settled()

    def _require_room(self, name: str) -> None:
        there = next((one for one in self.models.every if one.name == name), None)
        if there is not None and there.state is not ModelState.FAILED:
            raise ModelConflictError(f"a model called {name} is {there.state}")
        if name == self.models.roles.default:
            raise ModelConflictError("the default can't be replaced: promote another first")
        loaded = [one for one in self.models.every if one.state is not ModelState.FAILED]
        if any(one.state is ModelState.LOADING for one in loaded):
            # Whether two more fit into memory can't be told while one of them is filling it.
            raise ModelConflictError("another model is being loaded")
        if len(loaded) >= self._rules.max_models:
            raise ModelConflictError(
                f"{len(loaded)} models are loaded, the most at once; unload one first"
            )

    async def _parts(self, order: ModelOrder, on: str | None) -> ModelParts:
        try:
            if on is not None:
                return await asyncio.to_thread(self._adapted_parts, order, on)
            if self._maker is None:
                raise ModelUnfitError("this server makes no further models")
            return await asyncio.to_thread(self._maker, order)
        except ModelUnfitError:
            raise
        except SightwardError as error:
            raise ModelUnfitError(str(error)) from error

    def _adapted_parts(self, order: ModelOrder, on: str) -> ModelParts:
        """The parts of an adapter on the weights of the model called `on`, as they then are."""

        def make() -> Engine:
            adaptable = self.models.named(on).host.serving.adaptable
            if adaptable is None or order.adapter is None:
                raise ModelUnfitError(
                    "the default's engine takes no adapters beside its own; merge the adapter "
                    "into its checkpoint (python -m alignment export) and load that as a model"
                )
            return adaptable.adapted(order.adapter, name=order.adapter.name)

        make()
        return ModelParts(make, check=check_readable)

    async def _promote(
        self, hosted: HostedModel, how: Literal["promote", "roll_back"], key_id: str
    ) -> HostedModel:
        if hosted.name == self.models.roles.default:
            raise ModelConflictError(f"{hosted.name} is the default already")
        if hosted.state is not ModelState.READY:
            raise ModelConflictError(f"{hosted.name} is {hosted.state}")
        try:
            await hosted.host.require_ready()
        except EngineUnavailableError as error:
            raise ModelConflictError(f"{hosted.name} does not answer now") from error
        before = self.models.default
        self.models.switch(hosted, how, key_id)
        if not self._rules.keeps_previous and not self.models.guests_of(before.name):
            self.models.retire(before)
        return hosted

    def _free_name(self, name: str) -> str:
        taken = {one.name for one in self.models.every}
        names = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 2))]
        return next(one for one in names if one not in taken)
