"""checkov finds nothing that is not argued about where it stands."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import DEPLOY, OVERLAYS, ROOT, Rendered

CHECKOV = ROOT / ".venv-checkov" / "bin" / "checkov"
pytestmark = pytest.mark.skipif(
    not CHECKOV.exists(), reason="checkov has an environment of its own, which make test builds"
)


def scan(framework: str, path: Path) -> dict[str, Any]:
    command = [CHECKOV, "--framework", framework, "--output", "json", "--skip-download", "-f", path]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    report: dict[str, Any] = json.loads(done.stdout)["results"]
    assert len(report["passed_checks"]) > 50, "something was checked"
    return report


def failures(report: dict[str, Any]) -> list[str]:
    return [f"{one['check_id']} {one['resource']}" for one in report["failed_checks"]]


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_manifests_pass(overlay: Callable[[str], Rendered], name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump_all(overlay(name).values()))
    report = scan("kubernetes", path)

    assert failures(report) == []
    assert all(one["check_result"]["suppress_comment"] for one in report["skipped_checks"])


def test_the_dockerfile_passes() -> None:
    assert failures(scan("dockerfile", DEPLOY / "docker" / "Dockerfile")) == []
