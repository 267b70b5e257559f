"""The models that are hosted, and who is what.

Every change of roles is one assignment: a call that has begun keeps the model that it began with,
the next one gets the new one. A model that is to go is stopped when every request that may have
begun with it has ended, so that none is lost. What changes they are asked for is
`server.rollout.changes`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Literal

import structlog

from server.api.drain import Drain
from server.api.engine_host import EngineHost
from server.api.engine_session import EngineRecipe, Serving
from server.api.lifecycle import Lifecycle
from server.concepts.policy_book import PolicyBook
from server.errors import (
    UnknownHostedModelError,
)
from server.record.entries import RolloutChange
from server.rollout.hosted import HostedModel, ModelState
from server.rollout.journal import BY_SERVER, Journal
from server.rollout.orders import ModelOrder
from server.rollout.roles import Roles
from server.telemetry.rollout_metrics import ModelLine, RolloutMetrics

_log = structlog.get_logger("server")

_LOOK_S = 0.05

HostMaker = Callable[[str, EngineRecipe, Callable[[Serving], None], Callable[[], None]], EngineHost]
"""A host by its name, recipe, `on_ready` and `on_failure`."""


class ModelSet:
    """Hosts models by name from `start` to `stop`. Used from one event loop.

    `make_host` makes what keeps a model alive. `on_default` is called with what serves whenever
    that is another, `on_failure` when the default can't be kept alive and nothing can take its
    place. What still asks a model that is unloaded is waited for, at most `grace_s`.
    """

    def __init__(
        self,
        name: str,
        order: ModelOrder,
        recipe: EngineRecipe,
        *,
        make_host: HostMaker,
        lifecycle: Lifecycle,
        drain: Drain,
        metrics: RolloutMetrics,
        journal: Journal,
        on_default: Callable[[Serving], None],
        on_failure: Callable[[], None],
        grace_s: float,
    ) -> None:
        self.roles = Roles(name)
        self._make_host = make_host
        self._lifecycle = lifecycle
        self._drain = drain
        self._metrics = metrics
        self._journal = journal
        self._on_default = on_default
        self._on_failure = on_failure
        self._grace_s = grace_s
        self._work: set[asyncio.Task[None]] = set()
        self._models: dict[str, HostedModel] = {}
        self.add(name, order, recipe)
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
        """Begin loading the default; returns at once."""
        self.default.host.start()

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
            self.begin(hosted.host.follow(book))

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

    def guests_of(self, name: str) -> list[str]:
        """The models that are served on this one's weights."""
        return [one.name for one in self.every if one.on == name]

    def add(
        self, name: str, order: ModelOrder, recipe: EngineRecipe, on: str | None = None
    ) -> HostedModel:
        """Host another model, which is to be started; in the place of a failed one of its name."""
        host = self._make_host(
            name,
            recipe,
            lambda serving: self._is_ready(hosted, serving),
            lambda: self._has_failed(hosted),
        )
        hosted = HostedModel(name, order, host, on)
        if (failed := self._models.pop(name, None)) is not None:
            self.begin(failed.host.stop())
        self._models[name] = hosted
        return hosted

    def switch(
        self, hosted: HostedModel, how: Literal["promote", "roll_back", "failure"], key_id: str
    ) -> None:
        """Make a model that is ready the default, at once."""
        self.roles = self.roles.promoted(hosted.name)
        self._lifecycle.follow(hosted.host.state)
        self._on_default(hosted.host.serving)
        self._metrics.switches.labels(how).inc()
        self.note(how, hosted, key_id)

    def retire(self, hosted: HostedModel) -> None:
        """Take a model's role now, and stop it when nothing can be asking it any more."""
        hosted.is_retiring = True
        self.roles = self.roles.without(hosted.name)
        self.begin(self._stop_when_unused(hosted))

    async def _stop_when_unused(self, hosted: HostedModel) -> None:
        try:
            async with asyncio.timeout(self._grace_s):
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
            self.note("failure", hosted, BY_SERVER)
            return
        previous = None if self.roles.previous is None else self._models[self.roles.previous]
        if previous is None or previous.state is not ModelState.READY:
            self._on_failure()
            return
        # It is what an operator would do; and what failed is no place to roll back to.
        self.switch(previous, "failure", BY_SERVER)
        self.roles = replace(self.roles, previous=None)

    def note(self, change: RolloutChange, hosted: HostedModel, key_id: str) -> None:
        """Note a change that was made to a model."""
        serving = hosted.serving
        self._journal.note(
            change,
            name=hosted.name,
            model=str(hosted.order),
            model_version=None if serving is None else serving.moderator.model_version,
            roles=self.roles,
            key_id=key_id,
        )

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Have work done that `settled` waits for and `stop` ends."""
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
