"""The kustomize overlays: valid by Kubernetes' own schemas, and true to what the server is."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from server.concepts.policy_book import load_policy_book
from server.settings import read_settings
from tests.deploy.conftest import (
    DEPLOY,
    OVERLAYS,
    Manifest,
    Rendered,
    by_name,
    endpoint_container,
    run,
)

# The oldest with preStop.sleep switched on by itself, and the newest that kubectl here knows.
VERSIONS = ("1.30", "1.34")
# Kinds of others, whose schemas no package carries: only what stands in these tests is held.
FOREIGN = {"HTTPRoute", "PrometheusRule", "ScaledObject", "ServiceMonitor"}
FOREIGN |= {"InferenceService", "RayService"}

Overlay = Callable[[str], Rendered]


def pods(rendered: Rendered) -> Iterator[Manifest]:
    for (kind, _), manifest in rendered.items():
        if kind in ("Deployment", "Job"):
            yield manifest["spec"]["template"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", OVERLAYS)
def test_every_object_is_valid_by_the_strict_schema(
    overlay: Overlay, name: str, version: str
) -> None:
    for manifest in overlay(name).values():
        if manifest["kind"] not in FOREIGN:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_a_misspelt_field_is_found(overlay: Overlay) -> None:
    service = overlay("cpu-small")["Service", "sightward"]
    misspelt = service | {"spec": service["spec"] | {"selektor": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(misspelt, VERSIONS[0], strict=True)


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_pod_meets_the_restricted_standard_without_a_token(
    overlay: Overlay, name: str
) -> None:
    rendered = overlay(name)
    labels = rendered["Namespace", "sightward"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for template in pods(rendered):
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"] + pod.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert set(container["resources"]["limits"]) >= {"cpu", "memory"}
            assert set(container["resources"]["requests"]) >= {"cpu", "memory"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_there_is_time_for_a_whole_drain(overlay: Overlay, name: str) -> None:
    rendered = overlay(name)
    pod = rendered["Deployment", "sightward"]["spec"]["template"]["spec"]
    container = endpoint_container(rendered)
    env = {one["name"]: one.get("value") for one in container["env"]}
    drain_s = float(env["SIGHTWARD_DRAIN_NOTICE_S"]) + float(env["SIGHTWARD_DRAIN_GRACE_S"])
    pre_stop_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    closing_s = 5

    assert pod["terminationGracePeriodSeconds"] > pre_stop_s + drain_s + closing_s
    # Whoever asks /readyz from outside has seen the pod leave before it refuses anything.
    readiness = container["readinessProbe"]
    assert pre_stop_s + float(env["SIGHTWARD_DRAIN_NOTICE_S"]) >= readiness["periodSeconds"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_probes_ask_what_the_server_answers(overlay: Overlay, name: str) -> None:
    container = endpoint_container(overlay(name))
    paths = {
        probe: container[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    settings = read_settings()

    assert paths == {
        "startupProbe": "/readyz",
        "readinessProbe": "/readyz",
        "livenessProbe": "/livez",
    }
    assert container["readinessProbe"]["timeoutSeconds"] > settings.readiness_timeout_s
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_server_takes_its_environment(
    overlay: Overlay, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: dict[str, str] = {}
    for one in endpoint_container(overlay(name))["env"]:
        if one["name"] == "SIGHTWARD_AUDIT_LOG":
            known[one["name"]] = "postgresql+psycopg://audit.example/sightward"
        elif one["name"] == "SIGHTWARD_REDIS_URL":
            known[one["name"]] = "redis://redis.example:6379/0"
        else:
            # A reference stands for something that no setting depends on; $(NAME) needs one before.
            value = one.get("value", "some-model")
            names = re.findall(r"\$\((\w+)\)", value)
            assert set(names) <= set(known), f"{one['name']} names a variable that comes later"
            for used in names:
                value = value.replace(f"$({used})", known[used])
            known[one["name"]] = value
        monkeypatch.setenv(one["name"], known[one["name"]])

    settings = read_settings()

    assert settings.host == "0.0.0.0"
    assert settings.api_keys_file is not None
    assert (settings.model_url is not None) == (name == "gpu-split")
    assert (settings.model or "").startswith("remote:") == (name == "gpu-split")


def test_the_policy_is_one_that_the_server_takes(overlay: Overlay, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(overlay("cpu-small")["ConfigMap", "sightward-policy"]["data"]["policy.yaml"])

    load_policy_book(policy)


@pytest.mark.parametrize("name", OVERLAYS)
def test_nothing_gets_in_or_out_but_what_is_named(overlay: Overlay, name: str) -> None:
    policies = [one["spec"] for (kind, _), one in overlay(name).items() if kind == "NetworkPolicy"]
    deny = overlay(name)["NetworkPolicy", "sightward-deny"]["spec"]

    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for spec in policies:
        for rule in spec.get("egress", []) + spec.get("ingress", []):
            assert rule["ports"], "every port is named"
            assert rule.get("to") or rule.get("from"), "everyone is named"
    world = [
        spec["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for spec in policies
        for rule in spec.get("egress", [])
        for peer in rule["to"]
        if "ipBlock" in peer
    ]
    assert world == ([] if name == "cpu-small" else ["fill-models"])


@pytest.mark.parametrize("name", OVERLAYS)
def test_selectors_find_their_pods_and_no_others(overlay: Overlay, name: str) -> None:
    rendered = overlay(name)
    labels = [template["metadata"]["labels"] for template in pods(rendered)]

    def found(selector: dict[str, str]) -> int:
        return sum(selector.items() <= one.items() for one in labels)

    for (kind, _), manifest in rendered.items():
        spec = manifest.get("spec", {})
        if kind == "Service":
            assert found(spec["selector"]) == 1
        elif kind in ("Deployment", "PodDisruptionBudget"):
            assert found(spec["selector"]["matchLabels"]) == 1
        elif kind == "NetworkPolicy" and spec["podSelector"]:
            assert found(spec["podSelector"]["matchLabels"]) == 1
        elif kind == "ServiceMonitor":
            services = [one for (kind, _), one in rendered.items() if kind == "Service"]
            assert all(
                spec["selector"]["matchLabels"].items() <= one["metadata"]["labels"].items()
                for one in services
            )


@pytest.mark.parametrize(
    ("name", "scaler"), [("cpu-small", "HorizontalPodAutoscaler"), ("production", "ScaledObject")]
)
def test_an_autoscaler_alone_counts_replicas(overlay: Overlay, name: str, scaler: str) -> None:
    rendered = overlay(name)
    assert "replicas" not in rendered["Deployment", "sightward"]["spec"]
    target = rendered[scaler, "sightward"]["spec"]["scaleTargetRef"]
    assert target["name"] == "sightward"
    other = {"HorizontalPodAutoscaler", "ScaledObject"} - {scaler}
    assert not any(kind in other for kind, _ in rendered)


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_is_referred_to_is_there_or_said_to_be_yours(overlay: Overlay, name: str) -> None:
    rendered = overlay(name)
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")

    def references(node: Any) -> Iterator[tuple[str, str]]:
        if isinstance(node, list):
            for one in node:
                yield from references(one)
        elif isinstance(node, dict):
            for key, value in node.items():
                match key:
                    case "configMapKeyRef" | "configMapRef" | "configMap":
                        yield "ConfigMap", value["name"]
                    case "persistentVolumeClaim":
                        yield "PersistentVolumeClaim", value["claimName"]
                    case "secretKeyRef" | "secretRef":
                        yield "Secret", value["name"]
                    case "secret":
                        yield "Secret", value["secretName"]
                    case "serviceAccountName":
                        yield "ServiceAccount", value
                    case _:
                        yield from references(value)

    for template in pods(rendered):
        for kind, wanted in references(template["spec"]):
            assert (kind, wanted) in rendered or (kind == "Secret" and f"`{wanted}`" in readme)


@pytest.mark.parametrize("name", ["hpa", "keda", "ingress", "gateway"])
def test_components_that_exclude_each_other_fit_the_base(
    layer: Path, tmp_path: Path, name: str
) -> None:
    # Beside the others, since kustomize reads nothing by an absolute path.
    up = Path(*[".."] * (len(tmp_path.resolve().parts) - 1))
    here = up / (DEPLOY / "kubernetes").resolve().relative_to("/")
    (tmp_path / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "resources": [str(here / "base")],
                "components": [str(here / "components" / name)],
            }
        )
    )
    run(layer / "kubectl" / "kubectl", "kustomize", tmp_path)


def embedded_pods(manifest: Manifest) -> Iterator[Manifest]:
    """The pods within a kind of others, which are Kubernetes' own all the same."""
    spec = manifest["spec"]
    if manifest["kind"] == "InferenceService":
        own = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "labels"}
        yield {key: value for key, value in spec["predictor"].items() if key not in own}
    elif manifest["kind"] == "RayService":
        cluster = spec["rayClusterConfig"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            yield group["template"]["spec"]


@pytest.mark.parametrize(
    ("name", "kind"), [("kserve", "InferenceService"), ("rayservice", "RayService")]
)
def test_the_variants_hold_what_the_base_holds(
    layer: Path, overlay: Overlay, name: str, kind: str
) -> None:
    folder = DEPLOY / "kubernetes" / "variants" / name
    rendered = by_name(run(layer / "kubectl" / "kubectl", "kustomize", folder))
    foreign = next(one for (found, _), one in rendered.items() if found == kind)

    for manifest in rendered.values():
        if manifest["kind"] not in FOREIGN:
            kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)
    embedded = list(embedded_pods(foreign))
    for spec in embedded:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}
        kubernetes_validate.validate(pod, VERSIONS[-1], strict=True)
    if name == "kserve":
        ours = endpoint_container(overlay("cpu-small"))
        (container,) = embedded[0]["containers"]
        for field in ("args", "lifecycle", "resources", "securityContext", "volumeMounts"):
            assert container[field] == ours[field]
        assert container["image"] == ours["image"]
    else:
        env = {one["name"]: one.get("value") for one in endpoint_container(rendered)["env"]}
        served = yaml.safe_load(foreign["spec"]["serveConfigV2"])["applications"][0]["args"]
        (model,) = served["llm_configs"]
        assert env["SIGHTWARD_MODEL"] == f"remote:{model['model_loading_config']['model_id']}"
