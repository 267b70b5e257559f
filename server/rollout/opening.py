"""The model set that the settings describe."""

from collections.abc import Callable

from server.api.drain import Drain
from server.api.engine_host import EngineHost, RestartRules
from server.api.engine_session import EngineRecipe, FastPathOpener, Serving
from server.api.lifecycle import Lifecycle
from server.cascade import FastReader
from server.concepts.calibration import CalibrationChoice
from server.concepts.probes import ProbeSet
from server.rollout.changes import ChangeRules, Declared, ModelChanges
from server.rollout.journal import Journal
from server.rollout.model_set import ModelSet
from server.rollout.orders import LoadRules, ModelOrder
from server.rollout.parts import ModelMaker, ModelParts
from server.rollout.roles import Role
from server.settings import Settings
from server.telemetry import Metrics
from server.telemetry.rollout_metrics import RolloutMetrics

FastPathOpenerMaker = Callable[[Callable[[], FastReader] | None], FastPathOpener | None]


def load_rules(settings: Settings) -> LoadRules:
    """What an administrator may have loaded."""
    return LoadRules(settings.models_dir, settings.loadable_models)


def open_models(
    settings: Settings,
    order: ModelOrder,
    parts: ModelParts,
    *,
    maker: ModelMaker | None,
    probes: ProbeSet,
    calibration: CalibrationChoice,
    open_fast_path: FastPathOpenerMaker,
    lifecycle: Lifecycle,
    drain: Drain,
    metrics: Metrics,
    rollout_metrics: RolloutMetrics,
    journal: Journal,
    on_default: Callable[[Serving], None],
    on_failure: Callable[[], None],
) -> ModelChanges:
    """A set of the model `order`, made of `parts`, and what changes it.

    A calibration file of the settings is the first model's; others have what lies beside them.
    """

    def recipe_of(parts: ModelParts, calibration: CalibrationChoice) -> EngineRecipe:
        return EngineRecipe(
            parts.make,
            probes,
            calibration=calibration,
            open_fast_path=open_fast_path(parts.fast_reader),
            check=parts.check,
            hang_s=settings.engine_hang_s,
        )

    def make_host(
        name: str,
        recipe: EngineRecipe,
        on_ready: Callable[[Serving], None],
        on_failure: Callable[[], None],
    ) -> EngineHost:
        return EngineHost(
            recipe,
            metrics=metrics,
            on_ready=on_ready,
            on_failure=on_failure,
            readiness_timeout_s=settings.readiness_timeout_s,
            name=name,
            rules=RestartRules(max_failures=settings.engine_max_failures),
        )

    models = ModelSet(
        order.name,
        order,
        recipe_of(parts, calibration),
        make_host=make_host,
        lifecycle=lifecycle,
        drain=drain,
        metrics=rollout_metrics,
        journal=journal,
        on_default=on_default,
        on_failure=on_failure,
        grace_s=settings.drain_grace_s,
    )
    return ModelChanges(
        models,
        maker=maker,
        recipe_of=lambda parts: recipe_of(parts, "none" if calibration == "none" else "own"),
        rules=ChangeRules(settings.max_models, settings.keep_previous),
    )


def declared_models(settings: Settings) -> list[Declared]:
    """The canary and the shadow that the settings name."""
    declared: list[Declared] = []
    if settings.canary_model is not None:
        order = _order(settings, settings.canary_model)
        declared.append(Declared(order, Role.CANARY, settings.canary_percent))
    if settings.shadow_model is not None:
        order = _order(settings, settings.shadow_model)
        declared.append(Declared(order, Role.SHADOW, settings.shadow_percent))
    return declared


def _order(settings: Settings, model: str) -> ModelOrder:
    """What the operator means: a folder in their own one, an adapter there, or any model at all."""
    folder = None if settings.models_dir is None else settings.models_dir / model
    if folder is not None and (folder / "adapter_config.json").is_file():
        return ModelOrder(adapter=folder)
    if folder is not None and (folder / "config.json").is_file():
        return ModelOrder(str(folder))
    return ModelOrder(model)
