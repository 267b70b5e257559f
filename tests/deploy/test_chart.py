"""The Helm chart: the same objects as the overlays, and a schema that catches mistakes."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tests.deploy.conftest import CHART, OVERLAYS, Rendered, endpoint_container, run, values_of
from tests.deploy.test_manifests import FOREIGN, VERSIONS

Overlay = Callable[[str], Rendered]
Chart = Callable[..., Rendered]

# Helm's own labels, and lists whose order means nothing.
OF_HELM = {"app.kubernetes.io/managed-by", "helm.sh/chart"}
UNORDERED = {"volumeMounts", "volumes"}


def alike(node: Any, key: str = "") -> Any:
    if isinstance(node, dict):
        return {name: alike(value, name) for name, value in node.items() if name not in OF_HELM}
    if isinstance(node, list):
        items = [alike(item) for item in node]
        if key == "env":
            return {item["name"]: item for item in items}
        return sorted(items, key=lambda item: str(item["name"])) if key in UNORDERED else items
    return node


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_chart_makes_what_the_overlay_makes(overlay: Overlay, chart: Chart, name: str) -> None:
    expected = {key: alike(one) for key, one in overlay(name).items() if key[0] != "Namespace"}
    for one in expected.values():
        del one["metadata"]["namespace"]  # helm is told on its command line

    made = {key: alike(one) for key, one in chart(*values_of(name)).items()}

    assert made.keys() == expected.keys()
    for key in expected:
        assert made[key] == expected[key], key


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_chart_passes_helms_strict_lint(layer: Path, name: str) -> None:
    run(layer / "helm" / "helm", "lint", "--strict", "--quiet", CHART, *values_of(name))


@pytest.mark.parametrize(
    "options",
    [
        ("--set=route.kind=ingress",),
        ("--set=network.enabled=false", "--set=model.enabled=true", "--set=vllm.enabled=true"),
        ("--set=imagePullSecrets[0].name=pull", "--set=priorityClassName=high"),
        ("--set=autoscaling.kind=keda", "--set=nodeSelector.disk=fast"),
    ],
)
def test_other_values_make_valid_objects(chart: Chart, options: tuple[str, ...]) -> None:
    for manifest in chart(*options).values():
        if manifest["kind"] not in FOREIGN:
            kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


def test_what_is_set_arrives(chart: Chart) -> None:
    rendered = chart(
        "--set=env.SIGHTWARD_FETCH_URLS=true",
        "--set=replicas=5",
        "--set-string=policy=revision: mine",
        "--set=secretEnv.SIGHTWARD_REDIS_URL.name=shared",
        "--set=secretEnv.SIGHTWARD_REDIS_URL.key=url",
    )
    env = {one["name"]: one for one in endpoint_container(rendered)["env"]}

    assert env["SIGHTWARD_FETCH_URLS"]["value"] == "true"
    assert env["SIGHTWARD_REDIS_URL"]["valueFrom"] == {
        "secretKeyRef": {"name": "shared", "key": "url"}
    }
    assert rendered["Deployment", "sightward"]["spec"]["replicas"] == 5
    policy = rendered["ConfigMap", "sightward-policy"]["data"]["policy.yaml"]
    assert policy == "revision: mine"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--set=replicaCount=3", "replicaCount"),
        ("--set=replicas=0", "replicas"),
        ("--set=autoscaling.kind=vpa", "autoscaling"),
        ("--set=route.kind=loadbalancer", "route"),
        ("--set=image.tag=latest", "tag"),
        ("--set=env.PYTHONPATH=here", "PYTHONPATH"),
        ("--set=resources.limits=null", "limits"),
        ("--set=terminationGracePeriodSeconds=40", "at least 45"),
        ("--set=vllm.enabled=true", "needs model.enabled"),
    ],
)
def test_a_mistake_is_refused(layer: Path, option: str, said: str) -> None:
    command = [str(layer / "helm" / "helm"), "template", "sightward", str(CHART), option]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert said in done.stderr
