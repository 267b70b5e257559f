"""Rules and dashboards: what Prometheus itself says of them, and that they name what there is."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient
from pydantic import SecretStr

from server.api.app import create_app
from server.engine.stub import StubEngine
from server.settings import Settings
from tests.deploy.conftest import DEPLOY, run

HERE = DEPLOY / "observability"
RULES = yaml.safe_load((HERE / "rules.yaml").read_text(encoding="utf-8"))
DASHBOARDS = sorted((HERE / "dashboards").glob("*.json"))
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
# What others put on the page: the client's own, vLLM's (seen in a scrape), Prometheus' and rules.
OTHERS = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "up",
    "vllm:kv_cache_usage_perc",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    *(rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule),
}


def queries(dashboard: Path) -> list[str]:
    panels = json.loads(dashboard.read_text(encoding="utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


@pytest.fixture(scope="session")
def known_metrics(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every series that the server's own registry would show."""
    settings = Settings(audit_log=SecretStr(str(tmp_path_factory.mktemp("audit"))))
    app = create_app(settings, engine=StubEngine())
    with TestClient(app):
        # What a registry refuses a second time: every series' name.
        return set(app.state.services.metrics.registry._names_to_collectors)


def test_prometheus_takes_the_rules(promtool: str) -> None:
    run(promtool, "check", "rules", "--lint=all", "--lint-fatal", HERE / "rules.yaml")


def test_the_alerts_fire_when_they_should_and_only_then(promtool: str) -> None:
    run(promtool, "test", "rules", HERE / "rules_test.yaml")


def test_every_alert_is_tested_to_fire() -> None:
    tests = (HERE / "rules_test.yaml").read_text(encoding="utf-8")
    fired = re.findall(r'alertname="(\w+)"\}', tests)
    fired += [
        one["alertname"]
        for group in yaml.safe_load(tests)["tests"]
        for one in group.get("alert_rule_test", [])
        if one.get("exp_alerts")
    ]

    assert {rule["alert"] for rule in ALERTS} - set(fired) == set()


def test_what_is_written_twice_says_the_same() -> None:
    spec = importlib.util.spec_from_file_location("generate", HERE / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)

    for name, text in generate.files().items():
        assert (HERE / name).read_text(encoding="utf-8") == text, "python generate.py"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_prometheus_can_read_every_query(promtool: str, dashboard: Path, tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(queries(dashboard))
    ]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    run(promtool, "check", "rules", path)


@pytest.mark.parametrize(
    "expressions",
    [[rule["expr"] for group in RULES["groups"] for rule in group["rules"]]]
    + [queries(dashboard) for dashboard in DASHBOARDS],
    ids=["rules", *(path.stem for path in DASHBOARDS)],
)
def test_every_metric_that_is_asked_for_exists(
    expressions: list[str], known_metrics: set[str]
) -> None:
    asked = {
        name
        for expression in expressions
        for name in re.findall(r"\b((?:sightward|vllm|process)[_:][\w:]+|up)\b", expression)
    }

    assert asked - known_metrics - OTHERS == set()


def test_every_alert_leads_to_its_paragraph() -> None:
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    anchors = {
        f"deploy/README.md#{title.lower()}" for title in re.findall(r"^#+ (\w+)$", readme, re.M)
    }

    assert {rule["annotations"]["runbook_url"] for rule in ALERTS} - anchors == set()
    assert {rule["labels"]["severity"] for rule in ALERTS} == {"page", "ticket"}
