"""The service in this process, with a model of its own, for a command that was given no address.

It is the very app that is served, so a file is judged by the same pipeline and policy either way.
What only concerns other callers (keys, limits) or outlives the command (the audit log, batches) is
left out.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx2

from server.engine.protocol import Engine
from server.moderate.errors import NoAnswerError
from server.settings import Settings
from server.startup_check import StartupCheck


@asynccontextmanager
async def own_service(
    settings: Settings,
    *,
    make_engine: Callable[[Settings], Engine],
    startup_check: Callable[[Settings], StartupCheck | None],
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the service; raises `NoAnswerError` where its model can't be started."""
    from server.api.app import create_app
    from server.serving_engine import make_fast_reader

    alone = settings.model_copy(
        update={
            "api_keys": (),
            "api_keys_file": None,
            "audit_log": None,
            "batches_dir": None,
            "keep_images": None,
            "metrics_need_key": False,
            "playground": False,
            "rate_limit": None,
            "redis_url": None,
            "cache": "off" if settings.cache == "off" else "memory",
            "request_timeout_s": None,
            "drift_reference": None,
        }
    )
    app = create_app(
        alone,
        engine=lambda: make_engine(alone),
        fast_reader=lambda: make_fast_reader(alone),
        startup_check=startup_check(alone),
    )
    async with app.router.lifespan_context(app):
        await app.state.services.engine_host.settled()
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://moderate/", timeout=None
        ) as client:
            ready = await client.get("readyz")
            if not ready.is_success:
                raise NoAnswerError("the model can't be started")
            yield client
