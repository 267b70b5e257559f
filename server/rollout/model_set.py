"""The models that are hosted, and the changes to who is what.

Every change of roles is one assignment: a call that has begun keeps the model that it began with,
the next one gets the new one. A model that is to go is stopped when every request that may have
begun with it has ended, so that none is lost. The default before stays loaded, since a roll back
that first has to load a model is none.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import structlog

from server.api.drain import Drain
from server.api.engine_host import EngineHost
from server.api.engine_session import EngineRecipe, Serving
from server.api.lifecycle import Lifecycle
from server.concepts.policy_book import PolicyBook
from server.engine.protocol import Engine
from server.errors import (
    EngineUnavailableError,
    ModelConflictError,
    ModelUnfitError,
    SightwardError,
    UnknownHostedModelError,
)
from server.record.entries import RolloutChange
from server.rollout.hosted import HostedModel, ModelState
from server.rollout.journal import BY_SERVER, BY_SETTINGS, Journal
from server.rollout.orders import ModelOrder
from server.rollout.parts import ModelMaker, ModelParts
from server.rollout.roles import Role, Roles, Share
from server.startup_check import check_readable
from server.telemetry.rollout_metrics import ModelLine, RolloutMetrics

_log = structlog.get_logger("server")

_LOOK_S = 0.05

HostMaker = Callable[[str, EngineRecipe, Callable[[Serving], None], Callable[[], None]], EngineHost]
"""A host by its name, recipe, `on_ready` and `on_failure`."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A canary or shadow that the settings name: loaded once the default has been."""

    order: ModelOrder
    role: Literal[Role.CANARY, Role.SHADOW]
    percent: float


@dataclass(frozen=True, slots=True)
class SetRules:
    """How many models may be loaded at once, and for how long what runs is waited for.

    Without `keeps_previous` the default before is unloaded, for its memory, and there is no roll
    back.
    """

    max_models: int = 4
    keeps_previous: bool = True
    grace_s: float = 30.0


class ModelSet:
    """Hosts models by name from `start` to `stop`. Used from one event loop.

    `maker` makes the parts of further models, None where there can be none; `recipe_of` how to
    bring parts to life and `make_host` what keeps them alive. `on_default` is called with what
    serves whenever that is another, `on_failure` when the default can't be kept alive and nothing
    can take its place.
    """

    def __init__(
        self,
        name: str,
        order: ModelOrder,
        recipe: EngineRecipe,
        *,
        make_host: HostMaker,
        recipe_of: Callable[[ModelParts], EngineRecipe],
        maker: ModelMaker | None,
        lifecycle: Lifecycle,
        drain: Drain,
        metrics: RolloutMetrics,
        journal: Journal,
        on_default: Callable[[Serving], None],
        on_failure: Callable[[], None],
        rules: SetRules,
        declared: Sequence[Declared] = (),
    ) -> None:
        self.roles = Roles(name)
        self._make_host = make_host
        self._recipe_of = recipe_of
        self._maker = maker
        self._lifecycle = lifecycle
        self._drain = drain
        self._metrics = metrics
        self._journal = journal
        self._on_default = on_default
        self._on_failure = on_failure
        self._rules = rules
        self._declared = tuple(declared)
        self._changing = asyncio.Lock()
        self._work: set[asyncio.Task[None]] = set()
        self._models: dict[str, HostedModel] = {}
        self._add(name, order, recipe)
        lifecycle.follow(self.default.host.state)

    @property
    def default(self) -> HostedModel:
        """The model that answers."""
        return self._models[self.roles.default]

    @property
    def every(self) -> list[HostedModel]:
        """All models, in the order in which they came."""
        return list(self._models.values())

    def serving(self, name: str) -> Serving | None:
        """What the model of that name answers with; None unless it is there and ready."""
        hosted = self._models.get(name)
        return None if hosted is None else hosted.serving

    def named(self, name: str) -> HostedModel:
        """The model of that name; raises `UnknownHostedModelError`."""
        try:
            return self._models[name]
        except KeyError:
            raise UnknownHostedModelError(name) from None

    def start(self) -> None:
        """Begin loading the default, then what the settings declare; returns at once."""
        self.default.host.start()
        self._begin(self._load_declared())

    async def settled(self) -> None:
        """Wait until all that was begun is done, well or badly."""
        while self._work:
            await asyncio.gather(*self._work, return_exceptions=True)
        for hosted in self.every:
            await hosted.host.settled()

    async def stop(self) -> None:
        """Stop every model; those that are served on another's weights before it."""
        for task in tuple(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        for is_guest in (True, False):
            hosts = [one.host for one in self.every if (one.on is not None) == is_guest]
            await asyncio.gather(*(host.stop() for host in hosts))
        await self._journal.close()

    def follow(self, book: PolicyBook) -> None:
        """Hold every model to a policy that changed."""
        for hosted in self.every:
            self._begin(hosted.host.follow(book))

    def show_metrics(self) -> None:
        """Have the metrics name the models as they are now."""
        self._metrics.show(
            ModelLine(
                one.name,
                self.roles.role_of(one.name),
                one.state,
                "" if one.serving is None else one.serving.moderator.model_version,
            )
            for one in self.every
        )

    async def load(self, order: ModelOrder, *, name: str, key_id: str) -> HostedModel:
        """Begin loading a model, which stands by once it is ready; what answers goes on.

        Raises `ModelConflictError` for a name that is taken, too many models or another that is
        being loaded, and `ModelUnfitError` for a model that can't be served here.
        """
        async with self._changing:
            self._require_room(name)
            on = self.roles.default if order.spec is None else None
            recipe = self._recipe_of(await self._parts(order, on))
            failed = self._models.pop(name, None)
            if failed is not None:
                await failed.host.stop()
            hosted = self._add(name, order, recipe, on)
            hosted.host.start()
            self._note("load", hosted, key_id)
            return hosted

    async def give_role(self, name: str, role: Role, percent: float, *, key_id: str) -> HostedModel:
        """Make a model the canary or the shadow with a share of the contents, or have it stand by.

        One that is not ready gets its share once it is. Raises `UnknownHostedModelError`, and
        `ModelConflictError` for the default.
        """
        async with self._changing:
            hosted = self.named(name)
            if name == self.roles.default or role is Role.DEFAULT:
                raise ModelConflictError(
                    "the default is made by promoting a model, or rolling back"
                )
            if hosted.is_retiring:
                raise ModelConflictError(f"{name} is being unloaded")
            if role is Role.STANDBY:
                self.roles = self.roles.standing_by(name)
            else:
                self.roles = self.roles.with_share(role, Share(name, percent))
            self._note("role", hosted, key_id)
            return hosted

    async def promote(self, name: str, *, key_id: str) -> HostedModel:
        """Make a model the default for every call that begins from now on.

        Raises `UnknownHostedModelError`, and `ModelConflictError` unless it answers right now.
        """
        async with self._changing:
            return await self._promote(self.named(name), "promote", key_id)

    async def roll_back(self, *, key_id: str) -> HostedModel:
        """Make the default before the default again; once more, and it is undone.

        Raises `ModelConflictError` where none is loaded, or it does not answer.
        """
        async with self._changing:
            if self.roles.previous is None:
                raise ModelConflictError("no default before this one is loaded")
            return await self._promote(self.named(self.roles.previous), "roll_back", key_id)

    async def unload(self, name: str, *, key_id: str) -> HostedModel:
        """Take a model's role at once and stop it when nothing can be asking it any more.

        Raises `UnknownHostedModelError`, and `ModelConflictError` for the default and for a model
        on whose weights another is served.
        """
        async with self._changing:
            hosted = self.named(name)
            if name == self.roles.default:
                raise ModelConflictError("the default can't be unloaded: promote another first")
            guests = [one.name for one in self.every if one.on == name]
            if guests:
                raise ModelConflictError(f"{', '.join(guests)} is served on its weights")
            if hosted.is_retiring:
                raise ModelConflictError(f"{name} is being unloaded")
            self._retire(hosted)
            self._note("unload", hosted, key_id)
            return hosted

    def _add(
        self, name: str, order: ModelOrder, recipe: EngineRecipe, on: str | None = None
    ) -> HostedModel:
        host = self._make_host(
            name,
            recipe,
            lambda serving: self._is_ready(hosted, serving),
            lambda: self._has_failed(hosted),
        )
        hosted = HostedModel(name, order, host, on)
        self._models[name] = hosted
        return hosted

    def _require_room(self, name: str) -> None:
        there = self._models.get(name)
        if there is not None and there.state is not ModelState.FAILED:
            raise ModelConflictError(f"a model called {name} is {there.state}")
        if name == self.roles.default:
            raise ModelConflictError("the default can't be replaced: promote another first")
        loaded = [one for one in self.every if one.state is not ModelState.FAILED]
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
            adaptable = self.named(on).host.serving.adaptable
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
        if hosted.name == self.roles.default:
            raise ModelConflictError(f"{hosted.name} is the default already")
        if hosted.state is not ModelState.READY:
            raise ModelConflictError(f"{hosted.name} is {hosted.state}")
        try:
            await hosted.host.require_ready()
        except EngineUnavailableError as error:
            raise ModelConflictError(f"{hosted.name} does not answer now") from error
        self._switch(hosted, how, key_id)
        return hosted

    def _switch(
        self, hosted: HostedModel, how: Literal["promote", "roll_back", "failure"], key_id: str
    ) -> None:
        before = self.default
        self.roles = self.roles.promoted(hosted.name)
        self._lifecycle.follow(hosted.host.state)
        self._on_default(hosted.host.serving)
        self._metrics.switches.labels(how).inc()
        is_base = any(one.on == before.name for one in self.every)
        if not (self._rules.keeps_previous or is_base or how == "failure"):
            self._retire(before)
        self._note(how, hosted, key_id)

    def _retire(self, hosted: HostedModel) -> None:
        hosted.is_retiring = True
        self.roles = self.roles.without(hosted.name)
        self._begin(self._stop_when_unused(hosted))

    async def _stop_when_unused(self, hosted: HostedModel) -> None:
        try:
            async with asyncio.timeout(self._rules.grace_s):
                # Whoever began with it is a request that runs now, or work outside of any request.
                await self._drain.passed()
                while hosted.host.waiting:  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            _log.warning("model unloaded while it was asked", model=hosted.name)
        await hosted.host.stop()
        self._models.pop(hosted.name, None)
        _log.info("model unloaded", model=hosted.name)

    def _is_ready(self, hosted: HostedModel, serving: Serving) -> None:
        if hosted.name == self.roles.default:
            self._on_default(serving)

    def _has_failed(self, hosted: HostedModel) -> None:
        if hosted.name != self.roles.default:
            self._note("failure", hosted, BY_SERVER)
            return
        previous = None if self.roles.previous is None else self._models[self.roles.previous]
        if previous is None or previous.state is not ModelState.READY:
            self._on_failure()
            return
        # It is what an operator would do; and what failed is no place to roll back to.
        self._switch(previous, "failure", BY_SERVER)
        self.roles = replace(self.roles, previous=None)

    async def _load_declared(self) -> None:
        await self.default.host.settled()
        for declared in self._declared:
            name = self._free_name(declared.order.name)
            try:
                hosted = await self.load(declared.order, name=name, key_id=BY_SETTINGS)
                await self.give_role(name, declared.role, declared.percent, key_id=BY_SETTINGS)
            except SightwardError as error:
                _log.error("model not loaded", model=name, role=declared.role, reason=str(error))
                continue
            await hosted.host.settled()

    def _free_name(self, name: str) -> str:
        names = [name, *(f"{name}-{number}" for number in range(2, len(self._models) + 2))]
        return next(one for one in names if one not in self._models)

    def _note(self, change: RolloutChange, hosted: HostedModel, key_id: str) -> None:
        serving = hosted.serving
        self._journal.note(
            change,
            name=hosted.name,
            model=str(hosted.order),
            model_version=None if serving is None else serving.moderator.model_version,
            roles=self.roles,
            key_id=key_id,
        )

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
