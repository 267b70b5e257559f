"""Draws the dashboards from a running Prometheus, as a proof that every query has an answer.

    python deploy/observability/draw.py http://localhost:9090 OUT [--minutes 15]

One PNG a dashboard. Exits with 1 and names the panels whose queries give no data. It is no Grafana:
titles, units and legends are the panels' own, the looks are not.
"""

import argparse
import json
import math
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure

_STEP_S = 15
_VARIABLES = {"$__rate_interval": "1m", "$job": ".*", "$instance": ".*"}


def series(prometheus: str, expression: str, minutes: int) -> list[dict[str, Any]]:
    """What Prometheus answers for the last `minutes`; series of nothing but NaN are none."""
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    now_s = time.time()
    asked = {"query": expression, "start": now_s - minutes * 60, "end": now_s, "step": _STEP_S}
    answer = httpx2.get(f"{prometheus}/api/v1/query_range", params=asked, timeout=30).json()
    if answer["status"] != "success":
        raise ValueError(f"{answer['error']}: {expression}")
    return [
        one
        for one in answer["data"]["result"]
        if not all(math.isnan(float(value)) for _, value in one["values"])
    ]


def draw(dashboard: dict[str, Any], prometheus: str, minutes: int, out: Path) -> list[str]:
    """Write the dashboard's picture; returns the titles of panels that lack data."""
    panels, empty = dashboard["panels"], []
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(14, 2.6 * rows), layout="constrained")
    figure.suptitle(dashboard["title"])
    for place, panel in enumerate(panels):
        axes = figure.add_subplot(rows, 2, place + 1, title=panel["title"])
        for target in panel["targets"]:
            found = series(prometheus, target["expr"], minutes)
            if not found:
                empty.append(f"{dashboard['title']}: {panel['title']}")
            for one in found:
                labels = one["metric"]
                legend = re.sub(
                    r"\{\{(\w+)\}\}",
                    lambda match, labels=labels: labels.get(match[1], ""),
                    target["legendFormat"],
                )
                times = [datetime.fromtimestamp(at_s, UTC) for at_s, _ in one["values"]]
                axes.plot(times, [float(value) for _, value in one["values"]], label=legend)
        axes.set_ylabel(panel["fieldConfig"]["defaults"]["unit"], fontsize=8)
        axes.tick_params(labelsize=7)
        axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))
        if any(line.get_label() for line in axes.lines):
            axes.legend(fontsize=6, loc="upper left")
    FigureCanvasAgg(figure).print_png(out / f"{dashboard['uid']}.png")
    return empty


def main() -> int:
    """Draw every dashboard beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prometheus")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=int, default=15)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    empty = []
    for path in sorted((Path(__file__).parent / "dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        empty += draw(dashboard, given.prometheus, given.minutes, given.out)
    for title in empty:
        sys.stderr.write(f"no data: {title}\n")
    return 1 if empty else 0


if __name__ == "__main__":
    sys.exit(main())
