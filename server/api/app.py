"""The app: everything put together, with all state in its lifespan."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from server.api import (
    batches_route,
    chat_route,
    models_admin_route,
    models_route,
    moderations_route,
    operations_routes,
    reviews_route,
)
from server.api.admission import Admission
from server.api.admission_middleware import AdmissionMiddleware
from server.api.assessing import Assessor
from server.api.chat import ChatHandler
from server.api.comparing import Comparer, CompareRules
from server.api.deadline import DeadlineMiddleware
from server.api.drain import Drain, DrainMiddleware
from server.api.engine_session import FastPathOpener, Serving
from server.api.errors import install_error_handlers
from server.api.judging import InputHandler
from server.api.key_middleware import ApiKeyMiddleware, guarded_paths
from server.api.key_ring import KeyRing
from server.api.lifecycle import Lifecycle
from server.api.middleware import BodyLimitMiddleware, BodyLimits, RecordMiddleware
from server.api.moderate import CallHandler
from server.api.openapi import document
from server.api.playground.route import playground_router
from server.api.rate_limit_middleware import RateLimitMiddleware
from server.api.rate_limits import RateLimits
from server.api.record_keeping import (
    open_audit_log,
    open_kept_images,
    open_matchers,
    open_policies,
    records_kept,
)
from server.api.recording import Recorder
from server.api.services import Services
from server.batches.service import Batches, open_batches
from server.cache.opening import open_cache
from server.cascade import FastPath, FastReader, open_fast_path
from server.concepts.calibration import Calibration, CalibrationChoice, read_calibration
from server.concepts.policy_watch import LivePolicies
from server.concepts.probes import ProbeSet, load_probes
from server.concepts.taxonomy import load_taxonomy
from server.engine.protocol import Engine
from server.errors import CalibrationMismatchError, DataFileError
from server.explaining import Explainer
from server.ingest.fetch import ImageFetcher
from server.ingest.pool import DecodePool
from server.rollout.canary import CanaryRoute
from server.rollout.journal import Journal
from server.rollout.opening import declared_models, open_models
from server.rollout.parts import ModelMaker, ModelParts
from server.serving_engine import order_of
from server.settings import Settings
from server.startup_check import StartupCheck
from server.telemetry import Metrics
from server.telemetry.drift import DriftWatch
from server.telemetry.explanation_metrics import ExplanationMetrics
from server.telemetry.rollout_metrics import RolloutMetrics
from server.telemetry.traces import open_traces

_WORK_PATHS = ("/v1/moderations", "/v1/chat/completions")
"""What the model is asked by, and so has to wait for its turn."""


def _calibration(settings: Settings, probes: ProbeSet) -> CalibrationChoice:
    """What the settings name; a file is held against the probes before any model is loaded."""
    if isinstance(settings.calibration, str):
        return settings.calibration
    calibration = read_calibration(settings.calibration)
    try:
        calibration.require_fit(
            probes_version=probes.version,
            active=probes.active,
            taxonomy_version=load_taxonomy().version,
        )
    except CalibrationMismatchError as error:
        raise DataFileError(settings.calibration, (str(error),)) from error
    return calibration


def _rate_limits(settings: Settings) -> RateLimits:
    redis_url = settings.redis_url
    return RateLimits(
        settings.rate_limit, redis_url=None if redis_url is None else redis_url.get_secret_value()
    )


def _fast_path_opener(
    policies: LivePolicies, fast_reader: Callable[[], FastReader] | None
) -> FastPathOpener | None:
    """How to open a fast path, if the policy then wants one; None where nobody can make one."""
    if fast_reader is None:
        return None
    make_reader = fast_reader

    async def open_wanted(calibration: Calibration | None) -> FastPath | None:
        if policies.book.fast_path == "off":
            return None
        path = await open_fast_path(make_reader, calibration, policies.book)
        path.follow(policies.book)  # it may have changed meanwhile
        return path

    return open_wanted


def _explainer(settings: Settings, metrics: Metrics) -> Explainer:
    return Explainer(
        ExplanationMetrics(metrics.registry),
        max_tokens=settings.explain_max_tokens,
        timeout_s=settings.explain_timeout_s,
        at_once=settings.explain_at_once,
    )


def _ignore_failure() -> None:
    """The app goes on without an engine and answers 503."""


def create_app(
    settings: Settings,
    *,
    engine: Engine | Callable[[], Engine],
    fast_reader: Callable[[], FastReader] | None = None,
    startup_check: StartupCheck | None = None,
    model_maker: ModelMaker | None = None,
    on_engine_failure: Callable[[], None] = _ignore_failure,
) -> FastAPI:
    """The service on `engine`, or on the one that `engine()` makes (in a thread: it may be slow).

    The engine starts in the background when the app does, and stops with it. `fast_reader` makes
    what reads pictures without it, where the policy wants that. `startup_check` is what a started
    engine must pass before it is asked by anyone. `model_maker` makes the parts of further models;
    None: there are none. `on_engine_failure` is called once if it can't
    start, or died too often. Whoever ends the process drains it first, by `app.state.drain`. Raises
    `DataFileError` when the settings name an unusable probe, policy, calibration or key file,
    `AuditLogError` for an audit log that can't be opened, and `SettingsError` for a matcher that
    can't be imported.
    """
    probes = load_probes(settings.probes)
    calibration = _calibration(settings, probes)
    keys = KeyRing(settings.key_entries(), settings.api_keys_file)
    metrics = Metrics()
    cache = open_cache(settings, metrics)
    policies = open_policies(settings, metrics.registry)
    matchers = open_matchers(settings)
    audit, kept = open_audit_log(settings, metrics.registry), open_kept_images(settings)
    batch_folder = open_batches(settings, metrics.registry)
    rate_limits = _rate_limits(settings)
    admission = Admission(
        max_running=settings.max_running_calls,
        max_waiting=settings.max_waiting_calls,
        max_wait_s=settings.max_wait_s,
    )
    lifecycle = Lifecycle()
    metrics.show_phase(lambda: lifecycle.phase)
    rollout_metrics = RolloutMetrics(metrics.registry)
    drift = DriftWatch(("image", "text"), path=settings.drift_reference)
    metrics.show_drift(drift)
    traces = (
        None
        if settings.traces_endpoint is None
        else open_traces(settings.traces_endpoint, sample_share=settings.traces_share)
    )
    drain = Drain(lifecycle, notice_s=settings.drain_notice_s, grace_s=settings.drain_grace_s)
    make_engine = engine if callable(engine) else lambda: engine

    def announce(serving: Serving) -> None:
        metrics.name_model(serving.card.id, serving.moderator.model_version)
        drift.watch(serving.moderator.model_version)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        decode_pool = DecodePool(
            settings.image_limits(),
            workers=settings.decode_threads,
            recent_bytes=0 if settings.cache == "off" else settings.cache_pixels_bytes,
        )
        journal = Journal(audit)
        changes = open_models(
            settings,
            order_of(settings),
            ModelParts(make_engine, fast_reader, startup_check),
            maker=model_maker,
            probes=probes,
            calibration=calibration,
            open_fast_path=lambda reader: _fast_path_opener(policies, reader),
            lifecycle=lifecycle,
            drain=drain,
            metrics=metrics,
            rollout_metrics=rollout_metrics,
            journal=journal,
            on_default=announce,
            on_failure=on_engine_failure,
        )
        fetch_rules = settings.fetch_rules()
        fetcher = None if fetch_rules is None else ImageFetcher(fetch_rules)
        inputs = InputHandler(settings, decode_pool, metrics, fetcher, cache, drift)
        models = changes.models
        canary = CanaryRoute(models, rollout_metrics, timeout_s=settings.canary_timeout_s)
        assessor, recorder = Assessor(inputs, matchers, canary), Recorder(audit, kept)
        comparer = Comparer(
            models,
            assessor,
            rollout_metrics,
            audit=audit,
            has_room=lambda: admission.running * 2 <= settings.max_running_calls,
            rules=CompareRules(
                at_once=settings.compare_at_once, canary_percent=settings.canary_compare_percent
            ),
        )
        lifecycle.when_draining(comparer.close)
        policies.listen(lambda change: models.follow(change.book))
        call_handler = CallHandler(
            assessor,
            recorder,
            load_taxonomy(),
            metrics,
            comparer,
            explainer=_explainer(settings, metrics),
        )
        batches = (
            None
            if batch_folder is None
            else Batches(
                *batch_folder,
                settings,
                handler=call_handler,
                serving=lambda: models.default.host.serving,
                policies=policies,
                lifecycle=lifecycle,
                load=admission,
            )
        )
        app.state.services = Services(
            settings=settings,
            metrics=metrics,
            lifecycle=lifecycle,
            models=models,
            model_changes=changes,
            call_handler=call_handler,
            chat_handler=ChatHandler(assessor, recorder, load_taxonomy(), metrics, comparer),
            policies=policies,
            audit=audit,
            batches=batches,
        )
        models.start()
        models.begin(changes.load_declared(declared_models(settings)))
        try:
            async with records_kept(settings, policies, audit, kept, matchers):
                if batches is not None:
                    batches.start()
                try:
                    yield
                finally:
                    if batches is not None:
                        await batches.stop()
                    comparer.close()
                    await comparer.settled()
                    await journal.close()
        finally:
            await models.stop()
            if cache is not None:
                await cache.close()
            if traces is not None:
                await asyncio.to_thread(traces.shutdown)
            await asyncio.to_thread(decode_pool.close)
            await rate_limits.close()
            if fetcher is not None:
                await fetcher.close()

    app = FastAPI(
        title="Sightward",
        summary="Moderation of pictures and texts behind the OpenAI endpoint's contract.",
        lifespan=lifespan,
        docs_url=None,  # the interactive pages load scripts from other hosts
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,  # what clients call an operation
        redirect_slashes=False,  # a redirect is no documented answer
    )
    install_error_handlers(app)
    for module in (
        moderations_route,
        batches_route,
        chat_route,
        models_route,
        models_admin_route,
        reviews_route,
        operations_routes,
    ):
        app.include_router(module.router)
    if settings.playground:
        app.include_router(playground_router())
    guarded = guarded_paths(with_metrics=settings.metrics_need_key)
    document(app, guarded=guarded, is_open=keys.is_open)
    # The last one added is the outermost.
    app.add_middleware(
        BodyLimitMiddleware,
        limit_bytes=settings.max_body_bytes,
        limit_s=settings.body_timeout_s,
        others={
            batches_route.PATH: BodyLimits(
                settings.batches_max_bytes, settings.batches_upload_timeout_s
            )
        },
    )
    app.add_middleware(
        AdmissionMiddleware,
        admission=admission,
        gate=lifecycle,
        metrics=metrics,
        paths=_WORK_PATHS,
    )
    app.add_middleware(
        DeadlineMiddleware, limit_s=settings.request_timeout_s, others=(batches_route.PATH,)
    )
    app.add_middleware(
        RateLimitMiddleware,
        limits=rate_limits,
        metrics=metrics,
        paths=(*_WORK_PATHS, batches_route.PATH),
    )
    app.add_middleware(ApiKeyMiddleware, keys=keys, guarded=guarded)
    if traces is not None:
        from server.api.trace_middleware import TraceMiddleware

        app.add_middleware(TraceMiddleware, provider=traces)
    app.add_middleware(DrainMiddleware, drain=drain)
    app.add_middleware(RecordMiddleware, metrics=metrics)
    app.state.drain = drain
    return app
