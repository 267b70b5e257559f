"""The image's files: linted, complete, and nothing in them that does not belong there.

Whether its steps work is shown by `make image`, which runs them; that takes minutes and a mirror.
"""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import yaml

from tests.deploy.bare_root import context_files, instructions, needed_stages
from tests.deploy.conftest import DEPLOY, ROOT, run

DOCKER = DEPLOY / "docker"
DOCKERFILE = DOCKER / "Dockerfile"
STEPS = instructions(DOCKERFILE.read_text(encoding="utf-8"))
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_hadolint_finds_nothing() -> None:
    run(Path(sys.executable).parent / "hadolint", DOCKERFILE)


def test_both_images_end_as_nobody_with_nothing_that_builds() -> None:
    for target in ("cpu", "gpu"):
        wanted = needed_stages(STEPS, target)
        assert wanted == {"build", f"build-{target}", "runtime", target}
    cpu = STEPS[[name for name, _ in STEPS].index("FROM") :]
    final = cpu[[arguments for _, arguments in cpu].index("runtime AS cpu") :]
    assert [name for name, _ in final] == ["FROM", "ENV", "COPY"]
    users = [arguments for name, arguments in STEPS if name == "USER"]
    assert users[-1] == users[0] == "10001:10001"


def test_everything_that_is_copied_is_let_through() -> None:
    files = context_files(ROOT, DOCKER / "Dockerfile.dockerignore")
    for name, arguments in STEPS:
        if name == "COPY" and not arguments.startswith("--from"):
            for source in arguments.split()[:-1]:
                assert any(one.startswith(source.rstrip("/")) for one in files), source
    assert not [one for one in files if one.startswith(("tests/", "deploy/", ".git"))]


def test_the_package_is_whole_when_built_from_what_is_let_through(tmp_path: Path) -> None:
    context = tmp_path / "context"
    for one in context_files(ROOT, DOCKER / "Dockerfile.dockerignore"):
        (context / one).parent.mkdir(parents=True, exist_ok=True)
        (context / one).write_bytes((ROOT / one).read_bytes())
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=context, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    tracked = run("git", "-C", ROOT, "ls-files", "server").splitlines()

    assert len(tracked) > 100
    assert [one for one in tracked if one not in inside and (ROOT / one).exists()] == []


def test_names_and_versions_agree() -> None:
    assert f'version="{VERSION}"' in DOCKERFILE.read_text(encoding="utf-8")
    chart = yaml.safe_load((DEPLOY / "helm/sightward/Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == chart["version"] == VERSION
    for path in (DEPLOY / "kubernetes" / "overlays").glob("*/kustomization.yaml"):
        for image in yaml.safe_load(path.read_text(encoding="utf-8")).get("images", []):
            assert re.fullmatch(rf"{VERSION}-(cpu|gpu)", image["newTag"])


def test_what_others_publish_is_pinned_by_digest() -> None:
    (base,) = [arguments for name, arguments in STEPS if name == "ARG"]
    theirs = {service["image"] for service in COMPOSE["services"].values()}
    theirs -= {f"sightward:{VERSION}-cpu"}

    assert len(theirs) == 3
    for image in (base.removeprefix("PYTHON_IMAGE="), *theirs):
        assert re.fullmatch(r"[a-z/]+:[\w.-]+@sha256:[0-9a-f]{64}", image), image


def test_every_service_of_compose_is_locked_down_and_listens_here_alone() -> None:
    for name, service in COMPOSE["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert not service["image"].endswith(":latest")
        if name != "state":
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DOCKER / source).exists(), source
            else:
                assert source in COMPOSE["volumes"]
