"""The files for Compose and Kubernetes are valid, and match the image and the settings."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from agent.configuring.reading import settings_by_key
from agent.miner.settings import MinerSettings
from agent.sections import EXTENSIONS
from support.servers.replicas import SHARED_FILES

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "configs" / "compose.yaml"
KUBERNETES = ROOT / "configs" / "kubernetes"
FILES = sorted(path for path in KUBERNETES.rglob("*") if path.is_file())
VARIANTS = ("base", "sqlite", "ray", "base with bubblewrap", "ray with bubblewrap")
SECRETS = KUBERNETES / "base" / "secrets.yaml.example"
USER = 10001
MIGRATION_SECONDS = 1200
"""Twice what an upgrade of a large installation has been measured to take, and more."""
DELIVERY_SECONDS = 30
"""Time to deliver the last results after the drain."""


def image() -> str:
    return (ROOT / "Dockerfile.cuda").read_text(encoding="utf-8")


@cache
def built(variant: str) -> tuple[dict[str, Any], ...]:
    """Return the objects of a variant as kustomize builds them, each with the component after "with"."""
    directory, _, component = variant.partition(" with ")
    if component:
        with tempfile.TemporaryDirectory() as own:
            base, added = (
                os.path.relpath(KUBERNETES / name, Path(own).resolve()) for name in (directory, component)
            )
            content = f"resources: [{base}]\ncomponents: [{added}]\n"
            Path(own, "kustomization.yaml").write_text(content, encoding="utf-8")
            return kustomize(Path(own))
    return kustomize(KUBERNETES / directory)


def kustomize(directory: Path) -> tuple[dict[str, Any], ...]:
    done = subprocess.run(
        ["kustomize", "build", directory], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def find(variant: str, kind: str, name: str) -> dict[str, Any]:
    (found,) = [item for item in built(variant) if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def pod(variant: str, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = find(variant, kind, name)["spec"]["template"]["spec"]
    return found


def workloads(variant: str) -> list[dict[str, Any]]:
    """Return the pod templates of a variant."""
    return [item["spec"]["template"]["spec"] for item in built(variant) if "template" in item.get("spec", {})]


def composed(profile: str) -> dict[str, Any]:
    """Return the file as a Compose program resolves it for one profile."""
    done = subprocess.run(
        [Path(sys.executable).with_name("podman-compose"), "-f", COMPOSE, "--profile", profile, "config"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = yaml.safe_load(done.stdout)
    return read


def test_hadolint_accepts_the_image() -> None:
    """Each exception in the file states its reason."""
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, ROOT / "Dockerfile.cuda"], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_has_the_version_of_the_program() -> None:
    """In its label, and in the tag that the manifests use."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"ARG VERSION={project['version']}\n" in image()
    used = {
        container["image"]
        for variant in VARIANTS
        for workload in workloads(variant)
        for container in [*workload["containers"], *workload.get("initContainers", [])]
    }
    assert used == {f"aitbc-agent:{project['version']}"}


def test_the_image_needs_nothing_of_a_clone() -> None:
    """It is built from the files of a release, or from a package index."""
    copied = re.findall(r"^(?:COPY|ADD) (?!--from=)(.*)", image(), re.MULTILINE)
    assert copied == [". /release"]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    assert [line for line in ignored if line and not line.startswith("#")] == ["*"]


def validate(item: dict[str, Any]) -> None:
    """Check an object by the schemas of Kubernetes 1.33 and of the newest known version, which must know every property."""
    for version in ("1.33", kubernetes_validate.latest_version()):
        kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_is_valid(variant: str) -> None:
    for item in built(variant):
        assert item["kind"] == "Namespace" or item["metadata"]["namespace"] == "aitbc"
        validate(item)


def test_the_example_of_the_secrets_is_valid_and_has_all_that_pods_read() -> None:
    secrets = {
        item["metadata"]["name"]: item for item in yaml.safe_load_all(SECRETS.read_text(encoding="utf-8"))
    }
    for item in secrets.values():
        validate(item)
    text = json.dumps([built(variant) for variant in VARIANTS])
    assert set(
        re.findall(
            r'"(?:secretName|secretRef": {"name|secretKeyRef": {"key": "token", "name)": "([a-z-]+)"', text
        )
    ) == set(secrets)
    assert set(secrets["aitbc-keys"]["stringData"]) == set(SHARED_FILES)


@pytest.mark.parametrize(
    "fault",
    [
        lambda pod: pod.update(automountServiceAcountToken=False),
        lambda pod: pod["containers"][0].update(livenessProbe={"httpGet": {"path": "/"}}),
        lambda pod: pod["containers"][0]["securityContext"].update(capabilities={"drop": "ALL"}),
        lambda pod: pod.update(terminationGracePeriodSeconds="30s"),
    ],
    ids=["a misspelt property", "a probe without a port", "a word for a list", "a text for a number"],
)
def test_the_validation_finds_errors(fault: Callable[[dict[str, Any]], None]) -> None:
    item = copy.deepcopy(find("base", "Deployment", "aitbc-coordinator"))
    fault(item["spec"]["template"]["spec"])
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(item)


@pytest.mark.parametrize("variant", VARIANTS)
def test_pods_run_without_privileges_on_file_systems_that_they_cannot_write(variant: str) -> None:
    """Every path that the image writes to is a volume, and the agent answers each probe."""
    assert workloads(variant)
    for workload in workloads(variant):
        (container,) = workload["containers"]
        security = {**workload.get("securityContext", {}), **container["securityContext"]}
        assert (security["runAsNonRoot"], security["runAsUser"]) == (True, USER)
        assert f"USER {USER}:{USER}\n" in image()
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert workload["automountServiceAccountToken"] is False
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {"/data", "/cache", "/tmp"} <= mounted  # noqa: S108 - a mount
        command = container.get("command")
        # A command replaces the image's own process 1.
        assert command is None or command[:2] == ["/usr/bin/tini", "--"]
        assert '"/usr/bin/tini", "--"' in image()
        if command is not None and command[2:4] == ["ray", "start"]:
            # The container ends with the node, and no probe is needed.
            assert "--block" in command
        else:
            check_probes(container)


def check_probes(container: dict[str, Any]) -> None:
    """Check that the agent answers each of the container's probes."""
    assert {"startupProbe", "livenessProbe"} <= set(container)
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = container.get(name)
        if probe is not None and "exec" in probe:
            assert probe["exec"]["command"] == ["aitbc-agent", "health"]
        elif probe is not None:
            assert probe["httpGet"] == {"path": "/v1/health", "port": "http"}
            # The answer takes no longer, even while the database hangs.
            assert probe["timeoutSeconds"] >= 5


@pytest.mark.parametrize(
    ("variant", "kind", "name"),
    [
        ("base", "DaemonSet", "aitbc-miner"),
        ("ray", "DaemonSet", "aitbc-ray-node"),
        ("ray", "StatefulSet", "aitbc-miner"),
    ],
)
def test_files_of_sealed_jobs_have_memory(variant: str, kind: str, name: str) -> None:
    """More than the 64 MiB of a container runtime."""
    miner = pod(variant, kind, name)
    memory = "/dev/shm"  # noqa: S108 - a mount
    (volume,) = [
        mount["name"] for mount in miner["containers"][0]["volumeMounts"] if mount["mountPath"] == memory
    ]
    (source,) = [item["emptyDir"] for item in miner["volumes"] if item["name"] == volume]
    assert source["medium"] == "Memory"
    assert int(source["sizeLimit"].removesuffix("Gi")) >= 2


@pytest.mark.parametrize(("variant", "kind"), [("base", "DaemonSet"), ("ray", "StatefulSet")])
def test_a_pod_has_time_to_drain(variant: str, kind: str) -> None:
    """A miner's grace period covers its drain, and a coordinator's covers preStop and open requests."""
    miner = pod(variant, kind, "aitbc-miner")
    (container,) = miner["containers"]
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    drain = float(variables["AITBC_MINER__DRAIN_SECONDS"])
    assert miner["terminationGracePeriodSeconds"] >= drain + DELIVERY_SECONDS
    assert drain >= MinerSettings().drain_seconds
    coordinator = pod(variant, "Deployment", "aitbc-coordinator")
    pause = coordinator["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert coordinator["terminationGracePeriodSeconds"] >= pause + 15


def test_replicas_share_their_keys_and_survive_the_maintenance_of_nodes() -> None:
    """And SQLite has one process only, with a volume of its own."""
    deployment = find("base", "Deployment", "aitbc-coordinator")["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert find("base", "PodDisruptionBudget", "aitbc-coordinator")["spec"]["minAvailable"] == 1
    copied = deployment["template"]["spec"]["initContainers"][0]["command"][-len(SHARED_FILES) :]
    assert copied == [f"/keys/{name}" for name in SHARED_FILES]
    startup = deployment["template"]["spec"]["containers"][0]["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= MIGRATION_SECONDS
    single = find("sqlite", "Deployment", "aitbc-coordinator")["spec"]
    assert (single["replicas"], single["strategy"]) == (1, {"type": "Recreate"})
    assert single["template"]["spec"]["volumes"][0] == {
        "name": "data",
        "persistentVolumeClaim": {"claimName": "aitbc-coordinator"},
    }
    assert "initContainers" not in single["template"]["spec"]
    assert not [item for item in built("sqlite") if item["kind"] == "PodDisruptionBudget"]


@pytest.mark.parametrize(("variant", "name"), [("base", "aitbc-miner"), ("ray", "aitbc-ray-node")])
def test_each_node_with_gpus_works(variant: str, name: str) -> None:
    """Including nodes that accept no other pods."""
    node = pod(variant, "DaemonSet", name)
    assert node["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in node["tolerations"]


@pytest.mark.parametrize(("variant", "name"), [("base", "aitbc-miner"), ("ray", "aitbc-ray-node")])
def test_bubblewrap_gets_what_it_needs(variant: str, name: str) -> None:
    """Namespaces by the project's filter, and a /proc that it may mount, in a user namespace of the pod."""
    node = pod(f"{variant} with bubblewrap", "DaemonSet", name)
    security = node["containers"][0]["securityContext"]
    assert node["hostUsers"] is False
    assert security["procMount"] == "Unmasked"
    assert security["seccompProfile"] == {"type": "Localhost", "localhostProfile": "seccomp.json"}
    assert security["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("variant", ["base", "sqlite", "ray"])
def test_only_those_pods_connect_that_need_to(variant: str) -> None:
    """Every pod is covered by a policy, miners accept connections from nobody but Ray's own pods, and reach no private network."""
    policies = {
        item["metadata"]["name"]: item["spec"] for item in built(variant) if item["kind"] == "NetworkPolicy"
    }
    assert policies["aitbc-default"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    assert "ingress" not in policies["aitbc-miner"]
    outside = policies["aitbc-miner"]["egress"][-1]["to"][0]["ipBlock"]
    assert {"10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"} <= set(outside["except"])
    labels = {"app.kubernetes.io/name": "aitbc-miner"}
    if variant == "ray":
        assert policies["aitbc-ray"]["ingress"] == [{"from": [{"podSelector": {"matchLabels": labels}}]}]
    selected = [
        item["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]
        for item in built(variant)
        if "template" in item.get("spec", {})
    ]
    assert set(selected) == {"aitbc-coordinator", "aitbc-miner"}


@pytest.mark.parametrize("profile", ["standalone", "network"])
def test_compose_accepts_the_file(profile: str) -> None:
    """Services are read-only, without root and capabilities, and have time to drain. Only loopback ports are published."""
    services = composed(profile)["services"]
    assert set(services) == {"standalone": {"agent"}, "network": {"coordinator", "miner"}}[profile]
    for name, service in services.items():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        minutes = int(service["stop_grace_period"].removesuffix("m"))
        drain = float(service.get("environment", {}).get("AITBC_MINER__DRAIN_SECONDS", 0))
        assert 60 * minutes >= drain + DELIVERY_SECONDS
        assert ("gpus" in service) is (name != "coordinator")
        assert "/data" in {volume.partition(":")[2] for volume in service["volumes"]}


@pytest.mark.parametrize("file", [COMPOSE, *FILES], ids=lambda file: f"{file.parent.name}/{file.name}")
def test_no_protection_of_the_container_runtime_is_disabled(file: Path) -> None:
    """The runtime's filters and masks are active, and a filter that is named exists beside the file."""
    text = file.read_text(encoding="utf-8")
    if file.parent.name == "bubblewrap":
        assert "hostUsers" in text  # which Kubernetes requires for an unmasked /proc
        return
    assert not re.search(r"unconfined|unmasked|privileged: true", text, re.IGNORECASE)
    for named in re.findall(r"seccomp=([\w.]+)", text):
        assert (
            json.loads((file.parent / named).read_text(encoding="utf-8"))["defaultAction"] == "SCMP_ACT_ERRNO"
        )


def test_every_setting_in_the_files_exists() -> None:
    """In the image, the Compose file and the Kubernetes files."""
    known = {f"AITBC_{key.replace('.', '__').upper()}" for key in settings_by_key()} | {"AITBC_IMAGE"}
    extensions = tuple(f"AITBC_{table.replace('.', '__').upper()}__" for table in EXTENSIONS)
    texts = [
        image(),
        COMPOSE.read_text(encoding="utf-8"),
        *(file.read_text(encoding="utf-8") for file in FILES),
    ]
    named = {name for text in texts for name in re.findall(r"\bAITBC_[A-Z_]+", text)}
    assert named
    assert {name for name in named if not name.startswith(extensions)} <= known
