"""What ``/metrics`` says is what Prometheus' own checker finds right."""

import shutil
import subprocess
from pathlib import Path

import httpx2
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from server.api.app import create_app
from server.engine.stub import StubEngine
from server.settings import Settings

PROMTOOL = shutil.which("promtool")


async def exposition(tmp_path: Path) -> str:
    """Our own metrics after a few calls, good and bad, with everything optional switched on."""
    settings = Settings.model_validate(
        {"audit_log": str(tmp_path / "log"), "batches_dir": str(tmp_path / "batches")}
    )
    app = create_app(settings, engine=StubEngine())
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            for body in ({"input": "a lake"}, {"input": "a lake"}, {"input": 3}):
                await client.post("/v1/moderations", json=body)
        return generate_latest(app.state.services.metrics.registry).decode()


@pytest.mark.skipif(
    PROMTOOL is None, reason="no promtool here (Debian: apt-get install prometheus)"
)
async def test_promtool_has_nothing_to_say(tmp_path: Path) -> None:
    text = await exposition(tmp_path)

    ended = subprocess.run(  # noqa: ASYNC221 - a moment
        [str(PROMTOOL), "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


async def test_names_and_labels_are_bounded(tmp_path: Path) -> None:
    families = list(text_string_to_metric_families(await exposition(tmp_path)))

    assert len(families) > 20
    for family in families:
        assert family.name.startswith(("sightward_", "python_", "process_")), family.name
        assert family.documentation, family.name
        assert len(family.samples) < 400, family.name
