"""What routes need, made in the app's lifespan and kept on the app, never in a module."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from server.api.chat import ChatHandler
from server.api.engine_host import EngineHost
from server.api.lifecycle import Lifecycle
from server.api.moderate import CallHandler
from server.batches.service import Batches
from server.concepts.policy_watch import LivePolicies
from server.record.audit_log import AuditLog
from server.rollout.changes import ModelChanges
from server.rollout.model_set import ModelSet
from server.settings import Settings
from server.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that lives as long as the app does."""

    settings: Settings
    metrics: Metrics
    lifecycle: Lifecycle
    models: ModelSet
    model_changes: ModelChanges
    call_handler: CallHandler
    chat_handler: ChatHandler
    policies: LivePolicies
    audit: AuditLog | None
    batches: Batches | None = None

    @property
    def engine_host(self) -> EngineHost:
        """What keeps the default model alive."""
        return self.models.default.host


async def get_services(request: Request) -> Services:
    """The running app's services, for FastAPI to inject.

    Async though it waits for nothing: anything else FastAPI calls in a thread, which costs every
    request more than its answer from the cache.
    """
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(get_services)]
