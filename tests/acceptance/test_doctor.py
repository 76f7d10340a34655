"""`aitbc-agent doctor` and `health` as commands, with real faults."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nvml_shim.shim import DRIVER_NOT_LOADED, NvmlShim, build
from support.agents import COMMAND, Agent, running

pytestmark = [pytest.mark.system, pytest.mark.acceptance]

NO_BLENDER = {"AITBC_RUNNERS__BLENDER": "/nowhere/blender"}
"""Used where Blender does not matter, since starting it takes the most time."""
WIDTH = 80


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    return directory


def doctor(data_dir: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AITBC_")}
    return subprocess.run(
        [COMMAND, "doctor", "--data-dir", data_dir, *options],
        env={"COLUMNS": str(WIDTH), **environment, "AITBC_COORDINATOR__PORT": "0", **variables},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def diagnostics(data_dir: Path, *options: str, **variables: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run the doctor. Returns the exit code, and the diagnostics by id."""
    done = doctor(data_dir, "--json", *options, **variables)
    assert "Traceback" not in done.stderr
    return done.returncode, {diagnostic["id"]: diagnostic for diagnostic in json.loads(done.stdout)}


@pytest.mark.ship
def test_cards_that_engines_cannot_use_cause_warnings(data_dir: Path, tmp_path: Path) -> None:
    """Two cards with an old driver, Debian's Blender and FFmpeg, and a torch without CUDA (if the machine's has none) do not prevent work."""
    cards = NvmlShim(build(tmp_path / "nvml"), tmp_path / "cards", driver="470.256.02")
    code, found = diagnostics(data_dir, **cards.environment)
    assert code == 0
    assert "RTX 4090 (24.0 GiB, driver 470.256.02)" in found["gpu"]["message"]
    assert "encoding one frame" in found["nvenc_unusable"]["message"]
    assert "no code for NVIDIA cards" in found["blender_without_kernels"]["message"]
    import torch  # noqa: PLC0415 - ten seconds, only where it runs

    if (cuda := torch.version.cuda) is None:
        assert "525.60" in found["driver_old"]["remedy"]
        assert "-m uv pip install --reinstall torch" in found["torch_without_cuda"]["remedy"]
    else:
        oldest = {"12": "525.60", "13": "580.65"}
        assert oldest[cuda.partition(".")[0]] in found["driver_old"]["remedy"]
        assert "torch_without_cuda" not in found
    cards.init = DRIVER_NOT_LOADED
    cards.write()
    _, found = diagnostics(data_dir, **cards.environment, **NO_BLENDER)
    assert "modprobe nvidia" in found["gpu_unusable"]["remedy"]


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    """A file system of 64 MiB in memory."""
    directory.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs", directory], check=True, timeout=120
    )
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True, timeout=120)


@pytest.mark.ship
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_small_disk_in_memory_is_reported(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        code, found = diagnostics(disk, **NO_BLENDER)
    assert code == 1
    assert (found["disk_full"]["severity"], "0.1 GiB are free" in found["disk_full"]["message"]) == (
        "fault",
        True,
    )
    assert "temporary file system (tmpfs)" in found["data_directory_temporary"]["message"]


def test_a_machine_without_programs_is_reported(data_dir: Path, tmp_path: Path) -> None:
    """Only Landlock is available for isolation, and the runners report their missing programs."""
    code, found = diagnostics(data_dir, PATH=str(tmp_path))
    assert code == 0
    assert "apt-get install ffmpeg" in found["ffmpeg_missing"]["remedy"]
    assert "apt-get install bubblewrap" in found["sandbox_weaker"]["remedy"]


def test_each_invalid_setting_is_a_diagnostic(data_dir: Path) -> None:
    """They replace all other diagnostics, which depend on the settings."""
    (data_dir / "agent.toml").write_text("[miner]\nnam = 'rig-1'\nslots = 0\n")
    done = doctor(data_dir, "--json")
    reported = json.loads(done.stdout)
    assert (done.returncode, {diagnostic["id"] for diagnostic in reported}) == (1, {"configuration_wrong"})
    name, slots = sorted(diagnostic["message"] for diagnostic in reported)
    assert slots.startswith("A setting is wrong. miner.slots: ")
    assert (name.startswith("A setting is wrong. miner.nam: "), "miner.name" in name) == (True, True)


def test_the_output_fits_a_terminal_and_starts_with_the_verdict(data_dir: Path) -> None:
    """It has 80 columns, and every remedy is complete."""
    secret = data_dir / "miner" / "identity.key"
    secret.parent.mkdir()
    secret.write_text("secret")
    secret.chmod(0o644)
    done = doctor(data_dir, AITBC_RUNNERS__FFPROBE="/nowhere/ffprobe", **NO_BLENDER)
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert max(map(len, lines)) <= WIDTH
    kinds = [line.split()[0] for line in lines if line.startswith(("problem ", "warning "))]
    assert kinds == sorted(kinds)
    assert lines[0].startswith("This machine cannot work: 1 problem")
    text = "".join(done.stdout.split())
    assert f"(secrets_readable)→Run:chmod600{secret}" in text
    assert "video_transcodingnotofferedapt-getinstallffmpeg" in text


@pytest.mark.ship
def test_a_running_coordinator_and_joining_miners_are_diagnosed(data_dir: Path, tmp_path: Path) -> None:
    """The doctor on the coordinator's data directory, with an invalid token before joining, and on its port; and the health check."""
    agent = Agent(data_dir, "coordinator", "--port", "0")
    assert agent.cli("health", check=False).returncode == 1
    with running(agent):
        assert agent.cli("health").stdout == "coordinator: ok\n"
        assert json.loads(agent.cli("health", "--json").stdout) == {"coordinator": "ok"}
        code, found = diagnostics(data_dir, **NO_BLENDER)
        assert (code, agent.url in found["agent"]["message"]) == (0, True)
        assert agent.url in found["coordinator"]["message"]
        second = tmp_path / "second"
        joining = ("--coordinator", agent.url, "--enroll", "enrol_wrong")
        code, found = diagnostics(second, *joining, **NO_BLENDER)
        assert (code, "expired, revoked or used up" in found["enrolment_refused"]["message"]) == (1, True)
        code, found = diagnostics(second, **NO_BLENDER, AITBC_COORDINATOR__PORT=str(agent.port))
        assert (code, f"port {agent.port}" in found["port_taken"]["message"]) == (1, True)
    stopped = agent.cli("health", check=False)
    assert (stopped.returncode, "No agent is running" in stopped.stderr) == (1, True)
