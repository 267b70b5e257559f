"""Writes what has to be said twice: alert rules as a PrometheusRule, dashboards as Grafana's JSON.

    python deploy/observability/generate.py

`rules.yaml` is written by hand, and so are the panels below; a test holds the files against this.
"""

import json
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
_LABELS = {"app.kubernetes.io/name": "sightward"}
_MINE = 'job=~"$job",instance=~"$instance"'


def panel(
    title: str, unit: str, *queries: tuple[str, str], kind: str = "timeseries", note: str = ""
) -> dict[str, Any]:
    """A panel of `queries`: expression and legend; `{}` in an expression is the page's selector."""
    targets = [
        {
            "refId": chr(ord("A") + n),
            "expr": expr.replace("{}", "{" + _MINE + "}").replace("{,", "{" + _MINE + ","),
            "legendFormat": legend,
        }
        for n, (expr, legend) in enumerate(queries)
    ]
    return {
        "title": title,
        "type": kind,
        "description": note,
        "targets": targets,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {},
    }


SERVICE = [
    panel(
        "Error budget left, 30 days",
        "percentunit",
        ("1 - sightward:errors:ratio_rate30d / 0.001", "availability"),
        ("1 - sightward:slow:ratio_rate30d / 0.05", "latency"),
        kind="stat",
        note="Below 0 the objective is missed.",
    ),
    panel(
        "Pods ready",
        "short",
        ('sum(sightward_phase{,phase="ready"})', "ready"),
        ("count(up{})", "all"),
        kind="stat",
    ),
    panel(
        "Answers a second, by status",
        "reqps",
        (
            'sum by (status) (rate(sightward_requests_total{,route!~"/|/livez|/readyz|/metrics"}[$__rate_interval]))',
            "{{status}}",
        ),
    ),
    panel(
        "Inputs judged a second",
        "ops",
        (
            "sum by (modality, judge) (rate(sightward_judged_total{}[$__rate_interval]))",
            "{{modality}}, by {{judge}}",
        ),
    ),
    panel(
        "Time of a moderation",
        "s",
        *(
            (
                f'histogram_quantile({q}, sum by (le) (rate(sightward_stage_seconds_bucket{{,stage="total"}}[$__rate_interval])))',
                f"p{round(q * 100)}",
            )
            for q in (0.5, 0.95, 0.99)
        ),
    ),
    panel(
        "p95 by stage",
        "s",
        (
            "histogram_quantile(0.95, sum by (le, stage) (rate(sightward_stage_seconds_bucket{}[$__rate_interval])))",
            "{{stage}}",
        ),
    ),
    panel(
        "Calls at the door",
        "short",
        ("sum(sightward_calls_running{})", "running"),
        ("sum(sightward_calls_waiting{})", "waiting"),
    ),
    panel(
        "Refusals a second, by reason",
        "reqps",
        (
            "sum by (reason) (rate(sightward_refusals_total{}[$__rate_interval])) or vector(0)",
            "{{reason}}",
        ),
    ),
    panel(
        "Burn rate of the error budget",
        "short",
        ("sightward:errors:ratio_rate1h / 0.001", "availability, 1 h"),
        ("sightward:slow:ratio_rate1h / 0.05", "latency, 1 h"),
        note="14.4 for an hour is 2% of the month's budget: somebody is woken.",
    ),
    panel(
        "vLLM: waiting, running",
        "short",
        ("sum(vllm:num_requests_waiting{})", "waiting"),
        ("sum(vllm:num_requests_running{})", "running"),
    ),
    panel(
        "vLLM: key-value cache used",
        "percentunit",
        ("max by (instance) (vllm:kv_cache_usage_perc{})", "{{instance}}"),
    ),
    panel(
        "Where scores come from",
        "ops",
        (
            "sum by (source) (rate(sightward_cache_requests_total{}[$__rate_interval]))",
            "{{source}}",
        ),
    ),
    panel(
        "Memory of the server's process",
        "bytes",
        ("process_resident_memory_bytes{}", "{{instance}}"),
    ),
    panel(
        "Processor of the server's process",
        "short",
        ("rate(process_cpu_seconds_total{}[$__rate_interval])", "{{instance}}"),
    ),
]

VERDICTS = [
    panel(
        "Model",
        "short",
        ("count by (model, model_version) (sightward_model_info{})", "{{model_version}}"),
        kind="table",
    ),
    panel(
        "Policy",
        "short",
        ("count by (version) (sightward_policy_info{})", "{{version}}"),
        kind="table",
    ),
    panel(
        "Verdicts a second, by action",
        "ops",
        ("sum by (action) (rate(sightward_verdicts_total{}[$__rate_interval]))", "{{action}}"),
    ),
    panel(
        "Share blocked, to be reviewed",
        "percentunit",
        (
            'sum by (action) (rate(sightward_verdicts_total{,action!="allow"}[$__rate_interval])) / on () group_left sum(rate(sightward_verdicts_total{}[$__rate_interval]))',
            "{{action}}",
        ),
    ),
    panel(
        "What was reviewed or blocked",
        "ops",
        (
            'sum by (category) (rate(sightward_verdict_categories_total{,action!="allow"}[$__rate_interval]))',
            "{{category}}",
        ),
    ),
    panel(
        "Not judged",
        "percentunit",
        (
            "sum(rate(sightward_undetermined_total{}[$__rate_interval])) / sum(rate(sightward_verdicts_total{}[$__rate_interval]))",
            "share",
        ),
        note="What could not be judged is never allowed.",
    ),
    panel(
        "P(unsafe) of pictures",
        "percentunit",
        *(
            (
                f'histogram_quantile({q}, sum by (le) (rate(sightward_p_unsafe_bucket{{,modality="image"}}[$__rate_interval])))',
                f"p{round(q * 100)}",
            )
            for q in (0.25, 0.5, 0.75, 0.95)
        ),
    ),
    panel(
        "Drift (PSI)",
        "short",
        ("max by (modality) (sightward_score_drift_psi{})", "{{modality}}"),
        note="Above 0.25 somebody should look. Empty until 2,000 inputs were judged.",
    ),
    panel(
        "Canary or shadow: disagreement",
        "percentunit",
        (
            "sum(rate(sightward_model_disagreements_total{}[$__rate_interval])) / sum(rate(sightward_model_comparisons_total{}[$__rate_interval]))",
            "share",
        ),
    ),
    panel(
        "Inputs refused one by one",
        "ops",
        ("sum by (code) (rate(sightward_refused_inputs_total{}[$__rate_interval]))", "{{code}}"),
    ),
    panel(
        "On record",
        "ops",
        ("sum by (result) (rate(sightward_audit_entries_total{}[$__rate_interval]))", "{{result}}"),
    ),
    panel(
        "Engine deaths and failed starts",
        "short",
        (
            "sum by (kind) (increase(sightward_engine_failures_total{}[1h])) or vector(0)",
            "{{kind}}",
        ),
    ),
]


def dashboard(uid: str, title: str, panels: list[dict[str, Any]]) -> dict[str, Any]:
    """The panels two in a row, with the page's variables: data source, job and instance."""
    for n, one in enumerate(panels):
        one |= {"id": n + 1, "gridPos": {"h": 7, "w": 12, "x": n % 2 * 12, "y": n // 2 * 7}}
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus"},
        *(
            {
                "name": name,
                "type": "query",
                "datasource": {"type": "prometheus", "uid": "${datasource}"},
                "query": f"label_values({metric}, {name})",
                "refresh": 2,
                "multi": True,
                "includeAll": True,
                "allValue": ".*",
                "current": {"text": "All", "value": "$__all"},
            }
            for name, metric in (("job", "sightward_phase"), ("instance", "sightward_phase"))
        ),
    ]
    return {
        "uid": uid,
        "title": title,
        "tags": ["sightward"],
        "schemaVersion": 41,
        "editable": False,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": variables},
        "panels": panels,
    }


def files() -> dict[str, str]:
    """Every file that is written, by its path from here."""
    rules = yaml.safe_load((HERE / "rules.yaml").read_text(encoding="utf-8"))
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "sightward", "labels": _LABELS},
        "spec": rules,
    }
    head = "# Written by generate.py from rules.yaml.\n"
    written = {"prometheusrule.yaml": head + yaml.safe_dump(resource, sort_keys=False, width=100)}
    for uid, title, panels in (
        ("sightward-service", "Sightward: the service", SERVICE),
        ("sightward-verdicts", "Sightward: verdicts", VERDICTS),
    ):
        text = json.dumps(dashboard(uid, title, panels), indent=1, ensure_ascii=False)
        written[f"dashboards/{uid}.json"] = text + "\n"
    return written


if __name__ == "__main__":
    for name, text in files().items():
        (HERE / name).write_text(text, encoding="utf-8")
