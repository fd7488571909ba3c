"""The Kubernetes manifests are valid, fit together, and set what Callsheet accepts as settings."""

from typing import Any

import kubernetes_validate
import pytest

from callsheet.settings.load import load_settings
from tests.support.deploy.files import Document, load_manifests

VERSIONS = ("1.30", "1.37")
MANIFESTS = load_manifests()
PROCESSES = ("serve", "work", "project")


def find(kind: str, name: str) -> Document:
    """Return the document of a kind and name."""
    return next(each for each in MANIFESTS if each["kind"] == kind and each["metadata"]["name"] == name)


def read_container(name: str) -> dict[str, Any]:
    container: dict[str, Any] = find("Deployment", name)["spec"]["template"]["spec"]["containers"][0]
    return container


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "manifest", MANIFESTS, ids=lambda each: f"{each['kind']}-{each.get('metadata', {}).get('name')}"
)
def test_a_manifest_is_valid(manifest: Document, version: str) -> None:
    if manifest["kind"] != "Kustomization":  # the tool that reads it is no part of the API
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("process", PROCESSES)
def test_each_process_survives_disruptions_and_is_asked_for_its_state(process: str) -> None:
    deployment, budget = find("Deployment", process), find("PodDisruptionBudget", process)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert deployment["spec"]["replicas"] > budget["spec"]["minAvailable"]
    container = read_container(process)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["admin"] == 9000
    probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert {probe["port"] for probe in probes.values()} == {"admin"}
    assert probes["readiness"]["path"] == "/readyz"
    assert probes["liveness"]["path"] == "/healthz", "an outage of the database is no reason for a restart"


def test_nothing_is_let_through_but_what_a_policy_names() -> None:
    policies = [each for each in MANIFESTS if each["kind"] == "NetworkPolicy"]
    denied = next(each["spec"] for each in policies if each["metadata"]["name"] == "deny-all")
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    labels = [find("Deployment", process)["spec"]["template"]["metadata"]["labels"] for process in PROCESSES]
    for policy in policies:
        selected = policy["spec"]["podSelector"].get("matchLabels", {})
        assert any(selected.items() <= each.items() for each in labels), policy["metadata"]["name"]
    internet = next(each["spec"] for each in policies if each["metadata"]["name"] == "work-to-the-internet")
    assert "169.254.0.0/16" in internet["egress"][0]["to"][0]["ipBlock"]["except"]


@pytest.mark.parametrize("process", PROCESSES)
def test_its_environment_is_accepted_as_settings(process: str) -> None:
    container = read_container(process)
    assert [source.popitem()[1]["name"] for source in map(dict, container["envFrom"])] == ["callsheet", "callsheet"]
    values = {**find("ConfigMap", "callsheet")["data"], **find("Secret", "callsheet")["stringData"]}
    settings = load_settings(values)
    assert settings.admin.host == "0.0.0.0"  # noqa: S104  # probes come from the node
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    for variable in container.get("env", []):
        directory, _, name = variable["value"].rpartition("/")
        assert directory == mounts["files"]
        assert name in find("Secret", "callsheet-files")["stringData"]


def test_the_kustomization_names_every_file() -> None:
    resources = next(each for each in MANIFESTS if each["kind"] == "Kustomization")["resources"]
    assert set(resources) == {
        "namespace.yaml", "config.yaml", "secret.yaml", "serve.yaml", "work.yaml", "project.yaml", "network.yaml",
    }  # fmt: skip
