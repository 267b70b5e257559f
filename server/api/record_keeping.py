"""What keeps policies and records in order while the app lives: opened with it, closed with it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client import Counter as PrometheusCounter

from server.concepts.policy_watch import LivePolicies, PolicyChange
from server.known_material import KnownMaterialMatcher, matcher_maker
from server.record.audit_log import AuditLog
from server.record.kept_images import KeptImages
from server.record.opening import open_store
from server.settings import Settings

_PRUNE_EVERY_S = 3600.0
_DAY_S = 24 * 3600.0

_log = structlog.get_logger("server")


class PolicyMetrics:
    """Which policy is in force, how often that changed, and whether its file is broken now."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._reloads = PrometheusCounter(
            "sightward_policy_reloads",
            "Times the policy file was read again, by result: loaded or failed.",
            ["result"],
            registry=registry,
        )
        self._is_broken = Gauge(
            "sightward_policy_file_broken",
            "1 while the policy file can't be used and an older policy is in force.",
            registry=registry,
        )
        self._info = Gauge(
            "sightward_policy_info",
            "The version of everyone's policy that is in force; always 1.",
            ["version"],
            registry=registry,
        )
        for result in ("loaded", "failed"):
            self._reloads.labels(result)

    def show(self, version: str) -> None:
        """Name the policy in force, and no other."""
        self._info.clear()
        self._info.labels(version).set(1)

    def __call__(self, change: PolicyChange) -> None:
        """Count a change."""
        self._reloads.labels("failed" if change.is_broken else "loaded").inc()
        self._is_broken.set(change.is_broken)
        self.show(change.book.default.version)


def open_policies(settings: Settings, registry: CollectorRegistry) -> LivePolicies:
    """The policies of the settings; raises `DataFileError`."""
    metrics = PolicyMetrics(registry)
    policies = LivePolicies(settings.policy)
    policies.listen(metrics)
    metrics.show(policies.book.default.version)
    return policies


def open_audit_log(settings: Settings, registry: CollectorRegistry) -> AuditLog | None:
    """The audit log of the settings; raises `AuditLogError` where it can't be opened."""
    if settings.audit_log is None:
        return None
    store = open_store(
        settings.audit_log.get_secret_value(), max_file_bytes=settings.audit_max_file_bytes
    )
    return AuditLog(store, registry, retention_days=settings.audit_retention_days)


def open_kept_images(settings: Settings) -> KeptImages | None:
    """The folder of kept pictures of the settings; None: none are kept."""
    return None if settings.keep_images is None else KeptImages(settings.keep_images)


def open_matchers(settings: Settings) -> tuple[KnownMaterialMatcher, ...]:
    """What matches known material; raises `SettingsError`."""
    if settings.known_material is None:
        return ()
    return (matcher_maker(settings.known_material)(),)


async def keep_pruning_images(kept: KeptImages, *, days: int) -> None:
    """Delete old copies, now and every hour, until cancelled."""
    while True:
        try:
            removed = await asyncio.to_thread(kept.prune, max_age_s=days * _DAY_S)
        except OSError as error:
            _log.error("kept pictures not pruned", reason=error.strerror)
        else:
            if removed:
                _log.info("kept pictures pruned", removed=removed)
        await asyncio.sleep(_PRUNE_EVERY_S)


@asynccontextmanager
async def records_kept(
    settings: Settings,
    policies: LivePolicies,
    audit: AuditLog | None,
    kept: KeptImages | None,
    matchers: tuple[KnownMaterialMatcher, ...],
) -> AsyncIterator[None]:
    """Watch the policy files, forget what is too old; at the end write what waits and close all."""
    work: list[Coroutine[Any, Any, None]] = [policies.watch(every_s=settings.policy_poll_s)]
    if audit is not None:
        work.append(audit.keep_pruning())
    if kept is not None:
        work.append(keep_pruning_images(kept, days=settings.keep_images_days))
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for matcher in matchers:
            await matcher.close()
        if audit is not None:
            await audit.close()
