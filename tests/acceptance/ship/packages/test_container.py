"""The image, built on a minimal Debian: its content, and a container that runs a job and stops properly.

The container is configured as in docs/how-to/containers.md: with the shipped system call filter and a read-only root file system,
without capabilities. It has no network.
"""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from support.machines import containers
from support.releases import built

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(
        containers.missing() is not None, reason=f"no containers here: {containers.missing()}"
    ),
]

IMAGE = "localhost/aitbc-agent:test"
NAME = "aitbc-test-agent"
READY = "AITBC agent is ready at "
READY_SECONDS = 180
STOP_SECONDS = 120
WORKPLACE = "/tmp"  # noqa: S108 - the container's own
OPTIONS = (
    "--env=AITBC_MINER__DRAIN_SECONDS=90",  # long enough for the long job on a busy machine
    "--read-only", "--network=none", "--cap-drop=ALL",
    "--security-opt=no-new-privileges", f"--security-opt=seccomp={containers.ROOT / 'configs' / 'seccomp.json'}",
)  # fmt: skip

LONG_JOB = """
import subprocess, sys
from aitbc import AITBCClient

source = "testsrc2=size=1280x720:duration=8:rate=25"
subprocess.run(
    ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, "-preset", "ultrafast", "long.mp4"], check=True
)
client = AITBCClient()
job = client.services.transcode("long.mp4", codec="h264", output_format="mp4")
for event in client.jobs.events(job.job_id):
    if event.job and event.job.status != "submitted" and event.job.progress:
        print(job.job_id, event.job.status)
        break
"""

RESULTS = """
import sys
from aitbc import AITBCClient

print(AITBCClient().jobs.get_results(sys.argv[1]).completed_at)
"""

ORPHAN = """
import os, sys, time
from pathlib import Path

reading, writing = os.pipe()
child = os.fork()
if child == 0:
    orphan = os.fork()
    if orphan == 0:
        while os.getppid() != 1:
            time.sleep(0.01)
        os._exit(0)
    os.write(writing, str(orphan).encode())
    os._exit(0)
os.waitpid(child, 0)
orphan = Path("/proc") / os.read(reading, 20).decode()
for _ in range(500):
    if not orphan.exists():
        sys.exit(0)
    time.sleep(0.01)
sys.exit((orphan / "status").read_text())
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Build the image with FFmpeg and an engine; its layers are reused between runs."""
    secrets = tmp_path_factory.mktemp("secrets")
    containers.build_image(IMAGE, built(), secrets, EXTRAS="", ENGINES="llama.cpp", VARIANT="cpu")
    return IMAGE


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[str]:
    """Run a ready agent in a container."""
    containers.run("podman", "rm", "--force", "--volumes", "--ignore", NAME)
    containers.run("podman", "create", "--name", NAME, *OPTIONS, image)
    try:
        start()
        yield NAME
    finally:
        containers.run("podman", "rm", "--force", "--volumes", NAME)


def start() -> None:
    """Start the container, and wait for the line that reports the agent's readiness."""
    began = datetime.now(UTC).isoformat()
    containers.run("podman", "start", NAME)
    with subprocess.Popen(
        [*containers.command("podman"), "logs", "--follow", "--since", began, NAME],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=containers.environment(),
    ) as logs:
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_forward, args=(logs, lines), daemon=True).start()
        seen = ""
        try:
            while READY not in seen:
                line = lines.get(timeout=READY_SECONDS)
                assert line, f"the agent did not start: {seen[-2000:]}"
                seen += line
        finally:
            logs.kill()


def _forward(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put("")


def inside(*command: str) -> str:
    """Run a command in the container and return its output."""
    return containers.run("podman", "exec", "--workdir", WORKPLACE, NAME, *command)


def as_root(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as the container's root, with any exit code."""
    return containers.start("podman", "exec", "--user", "0", NAME, *command)


def test_the_image_has_its_metadata(image: str) -> None:
    """Not root, the agent's own health check, the signal that drains, and no secret in readable data."""
    described: dict[str, Any] = json.loads(containers.run("podman", "image", "inspect", image))[0]
    config = described["Config"]
    assert config["User"] == "10001:10001"
    assert described["Healthcheck"]["Test"] == ["CMD", "aitbc-agent", "health"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"][-1] == "aitbc-agent"
    assert set(config["Volumes"]) == {"/data", "/models", "/cache"}
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video,graphics" in config["Env"]
    assert config["Labels"]["org.opencontainers.image.licenses"] == "MIT"
    history = containers.run("podman", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
    assert "cert =" not in history
    assert "Acquire::" not in history


def test_a_container_becomes_healthy_and_has_nothing_unnecessary(container: str) -> None:
    """The health check passes. There is no compiler, no Node, no pip and no cache, and the file system is read-only."""
    assert containers.start("podman", "healthcheck", "run", container).returncode == 0
    assert inside("aitbc-agent", "health") == "coordinator: ok; miner: ok, websocket"
    assert "#login=" not in containers.run("podman", "logs", container)
    assert inside("id", "-u") == "10001"
    programs = inside("sh", "-c", "command -v gcc cc c++ make node npm pip pip3 hatchling; command -v aitbc")
    assert programs == "/opt/aitbc/bin/aitbc"
    directories = ("/var/lib/apt/lists", "/var/cache/apt", "/root", "/cache")
    assert as_root("find", *directories, "-type", "f", "-not", "-name", ".*").stdout == ""
    for directory in ("/opt/aitbc", "/etc", "/usr/bin"):
        assert "Read-only file system" in as_root("touch", f"{directory}/new").stderr
    # docs/how-to/containers.md copies the filter from there.
    assert json.loads(inside("cat", "/opt/aitbc/configs/seccomp.json"))["defaultAction"] == "SCMP_ACT_ERRNO"
    inside("test", "-f", "/opt/aitbc/configs/models.toml")
    page = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8420/dashboard/').status)"
    assert inside("/opt/aitbc/bin/python", "-c", page) == "200"


def test_a_container_runs_a_job_whose_receipt_verifies(container: str) -> None:
    """A client transcodes a video; ffmpeg runs in its sandbox as a user without privileges."""
    assert container
    inside(
        *("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:duration=2:rate=25"),
        *("-pix_fmt", "yuv420p", "in.mp4"),
    )
    scaled = ("--codec", "h264", "--resolution", "160x120", "--receipt", "receipt.json")
    inside("aitbc", "transcode", "in.mp4", "out.mp4", *scaled)
    size = ("-show_entries", "stream=width,height", "-of", "csv=p=0")
    assert inside("ffprobe", "-v", "error", *size, "out.mp4") == "160,120"
    verified = inside("aitbc", "receipts", "verify", "receipt.json", "--artifact", "out.mp4")
    assert verified.splitlines()[-1].startswith("valid: miner_")


def test_an_engine_of_the_image_is_installed_and_works(container: str) -> None:
    """In an environment of its own, without a cache of packages. The image is read-only, so another one cannot be added there."""
    assert container
    listed = json.loads(inside("aitbc-agent", "engines", "list", "--json"))
    states = {engine["name"]: engine["state"] for engine in listed}
    assert (states["llama.cpp"], states["vllm"]) == ("installed", "no")
    assert inside("aitbc-agent", "engines", "check") == "llama.cpp: works"
    assert as_root("ls", "/opt/engines/.packages").returncode != 0
    refused = containers.start("podman", "exec", NAME, "aitbc-agent", "engines", "install", "faster-whisper")
    assert "cannot be written (Read-only file system)" in refused.stderr
    assert "set engines.directory" in refused.stderr


def test_process_one_reaps_orphans_of_engines(container: str) -> None:
    """A process whose parents have ended does not remain as a zombie."""
    assert container
    inside("/opt/aitbc/bin/python", "-c", ORPHAN)


def test_a_stop_waits_for_a_running_job_and_a_start_continues_with_the_same_data(container: str) -> None:
    """SIGTERM drains: the job completes before the container ends with exit code 0."""
    job_id, status = inside("/opt/aitbc/bin/python", "-c", LONG_JOB).split()
    assert status == "running"
    containers.run("podman", "stop", "--time", str(STOP_SECONDS), container)
    state = json.loads(containers.run("podman", "inspect", "--format", "{{json .State}}", container))
    assert state["ExitCode"] == 0
    ended = datetime.fromisoformat(state["FinishedAt"])
    start()
    completed = inside("/opt/aitbc/bin/python", "-c", RESULTS, job_id)
    assert datetime.fromisoformat(completed) < ended
