"""The files for Compose and Kubernetes are valid, and match the image and the settings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from agent.settings import MinerSettings, known_keys

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "configs" / "compose.yaml"
KUBERNETES = ROOT / "configs" / "kubernetes"
FILES = sorted(KUBERNETES.iterdir())
USER = 10001
DELIVERY_SECONDS = 30
"""Time to deliver the last results after the drain."""


def image() -> str:
    return (ROOT / "Dockerfile.cuda").read_text(encoding="utf-8")


def documents(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text(encoding="utf-8")))


def workloads() -> list[dict[str, Any]]:
    """Return the pod templates of all files."""
    return [
        document["spec"]["template"]["spec"]
        for file in FILES
        for document in documents(file)
        if "template" in document.get("spec", {})
    ]


def composed(profile: str) -> dict[str, Any]:
    """Return the file as a Compose program resolves it for one profile."""
    done = subprocess.run(
        [Path(sys.executable).with_name("podman-compose"), "-f", COMPOSE, "--profile", profile, "config"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = yaml.safe_load(done.stdout)
    return read


def test_hadolint_accepts_the_image() -> None:
    """Each exception in the file states its reason."""
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, ROOT / "Dockerfile.cuda"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_has_the_version_of_the_program() -> None:
    """In its label, and in the tag that the manifests use."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"ARG VERSION={project['version']}\n" in image()
    used = {
        container["image"]
        for workload in workloads()
        for container in [*workload["containers"], *workload.get("initContainers", [])]
    }
    assert used == {f"aitbc-agent:{project['version']}"}


def test_the_image_installs_the_dependencies_of_the_chosen_extras() -> None:
    """Nested extras are resolved, the project's own distributions are omitted, and an unknown extra is reported."""

    def requirements(extras: str) -> subprocess.CompletedProcess[str]:
        files = ["sdk/python/pyproject.toml", "pyproject.toml"]
        return subprocess.run(
            [sys.executable, "scripts/container/image_requirements.py", extras, *files],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    bare = requirements("").stdout.split("\n")
    assert any(line.startswith("fastapi") for line in bare)
    assert not any(line.startswith(("aitbc", "torch", "ffmpeg")) for line in bare)
    assert set(requirements("ffmpeg").stdout.split("\n")) - set(bare) == {"ffmpeg-python>=0.2"}
    everything = requirements("all").stdout
    assert all(name in everything for name in ("diffusers", "openai-whisper", "faster-whisper", "gguf"))
    refused = requirements("ffmpeg,nonsense")
    assert (refused.returncode, "'nonsense'" in refused.stderr) == (1, True)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_manifest_is_valid(file: Path) -> None:
    """By the schemas of Kubernetes 1.33 and of the newest known version, which must know every property."""
    for document in documents(file):
        for version in ("1.33", kubernetes_validate.latest_version()):
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("workload", workloads(), ids=lambda workload: workload["containers"][0]["name"])
def test_a_pod_runs_without_privileges_on_a_file_system_that_it_cannot_write(
    workload: dict[str, Any],
) -> None:
    """Every path that the image writes to is a volume, and the agent answers each probe."""
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
    assert {"startupProbe", "livenessProbe"} <= set(container)
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = container.get(name)
        if probe is not None and "exec" in probe:
            assert probe["exec"]["command"] == ["aitbc-agent", "health"]
        elif probe is not None:
            assert probe["httpGet"] == {"path": "/v1/health", "port": "http"}


def test_a_pod_has_time_to_drain() -> None:
    """A miner's grace period covers its drain, and a coordinator's covers preStop and open requests."""
    coordinator, miner = workloads()
    (container,) = miner["containers"]
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    drain = float(variables["AITBC_MINER__DRAIN_SECONDS"])
    assert miner["terminationGracePeriodSeconds"] >= drain + DELIVERY_SECONDS
    assert drain >= MinerSettings().drain_seconds
    pause = coordinator["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert coordinator["terminationGracePeriodSeconds"] >= pause + 15


def test_a_miner_runs_on_each_node_with_gpus() -> None:
    """Including nodes that accept no other pods."""
    (miner,) = [
        document for document in documents(KUBERNETES / "miner.yaml") if document["kind"] == "DaemonSet"
    ]
    pod = miner["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]


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


@pytest.mark.parametrize("file", [COMPOSE, *FILES], ids=lambda file: file.name)
def test_no_protection_of_the_container_runtime_is_disabled(file: Path) -> None:
    """The runtime's filters and masks are active, and a filter that is named exists beside the file."""
    text = file.read_text(encoding="utf-8")
    assert not re.search(r"unconfined|unmasked|privileged: true", text, re.IGNORECASE)
    for named in re.findall(r"seccomp=([\w.]+)", text):
        assert (
            json.loads((file.parent / named).read_text(encoding="utf-8"))["defaultAction"] == "SCMP_ACT_ERRNO"
        )


def test_every_setting_in_the_files_exists() -> None:
    """In the image, the Compose file and the Kubernetes files."""
    known = {f"AITBC_{key.replace('.', '__').upper()}" for key in known_keys()} | {"AITBC_IMAGE"}
    texts = [
        image(),
        COMPOSE.read_text(encoding="utf-8"),
        *(file.read_text(encoding="utf-8") for file in FILES),
    ]
    named = {name for text in texts for name in re.findall(r"\bAITBC_[A-Z_]+", text)}
    assert named
    assert named <= known
