"""The shipped units in a booted systemd: installed, started, hung, stopped and uninstalled, with a real job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nvml_shim.shim import NvmlShim, build
from support.agents import COMMAND
from support.escapes.judgement import ATTEMPTS, SANDBOXES, got_out
from support.inputs.media import make_video, probe
from support.machines.nspawn import Journal, Machine, booted, missing

pytestmark = pytest.mark.acceptance

UNITS = Path(__file__).parents[3] / "systemd"
TESTS = Path(__file__).parents[2]
AITBC = COMMAND.with_name("aitbc")
DATA = "/var/lib/aitbc-agent"
UNIT = "aitbc-agent.service"
HELPER_UNIT = "aitbc-power.service"
CARDS = "/var/lib/nvml"
OWN_LIMIT, SET_LIMIT = "450000", "200000"
# A hung agent is detected quickly, and the time limit of a stop is so short that it must be extended.
HURRIED = """[Service]
WatchdogSec=4
TimeoutStopSec=2
"""
# A job with the client's own code that takes some time on any machine; it prints its id once it runs.
SLOW_JOB = """
from aitbc import AITBCClient
client = AITBCClient()
body = {
    "name": "slow", "type": "ai-inference", "input": {"type": "text"}, "output": {"type": "json"},
    "model": {"type": "python", "entrypoint": "model.py", "requirements": []},
}
model = b"import time\\ndef predict(input):\\n    time.sleep(6)\\n    return {'slept': 6}\\n"
job = client.jobs.create(body, files={"model.py": model, "in.txt": b"."})
next(event for event in client.jobs.events(job.job_id) if event.job and event.job.status == "running")
print(job.job_id)
"""

# A stand-in for a program of NVIDIA's driver, in the machine's /usr/bin, which is the read-only one of this system.
MODPROBE = r"""
mkdir -p /run/programs/upper /run/programs/work
mount -t overlay -o lowerdir=/usr/bin,upperdir=/run/programs/upper,workdir=/run/programs/work overlay /usr/bin
printf '#!/bin/sh\necho "$(id -u) $*" >/run/modprobe\n' >/usr/bin/nvidia-modprobe
chmod 755 /usr/bin/nvidia-modprobe
"""


class Box:
    """The machine, and a directory that it shares with the test."""

    def __init__(self, machine: Machine, shared: Path) -> None:
        self.machine = machine
        self.shared = shared
        self.journal: Journal
        self.state: dict[str, Any] = {}

    def agent(self, *words: str, check: bool = True, **options: str) -> subprocess.CompletedProcess[str]:
        return self.machine.run(str(COMMAND), *words, check=check, **options)

    def service(self, *words: str, **options: str) -> dict[str, Any]:
        """Run `aitbc-agent service ... --json`."""
        answer: dict[str, Any] = json.loads(self.agent("service", *words, "--json", **options).stdout)
        return answer

    def agents_client(self) -> dict[str, str]:
        """Return the environment of a client of the agent in the machine."""
        file = json.loads(self.machine.run("cat", f"{DATA}/agent.json").stdout)
        return {"AITBC_BASE_URL": file["url"], "AITBC_API_KEY": file["client_key"]}

    def left_over(self) -> set[str]:
        """Return every path with the program's name in the directories of services."""
        directories = ("/etc", "/var", "/run", "/opt", "/srv", "/home")
        found = self.machine.run("find", *directories, "-name", "*aitbc*", "-print", "-prune", check=False)
        return set(found.stdout.split())


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Boot one machine for all tests."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    shared = tmp_path_factory.mktemp("shared")
    with booted(tmp_path_factory.mktemp("machine"), writable=[shared]) as machine:
        box = Box(machine, shared)
        yield box


@pytest.fixture(scope="module")
def installed(box: Box) -> Iterator[Box]:
    """Install the agent's service and wait until it is ready."""
    box.machine.run("mkdir", "-p", f"/run/systemd/system/{UNIT}.d")
    box.machine.run("sh", "-c", f'printf "%s" "$0" >/run/systemd/system/{UNIT}.d/hurried.conf', HURRIED)
    box.machine.run("sh", "-ec", MODPROBE)
    box.journal = Journal(box.machine, UNIT)
    box.state = box.service("install", "--enroll", "enrol_a-secret")
    yield box
    box.journal.close()


@pytest.mark.parametrize(
    ("unit", "options", "exposure"),
    [
        (UNIT, (), 36),
        ("aitbc-coordinator.service", (), 11),
        (HELPER_UNIT, (), 22),
        ("aitbc-backup@.service", (), 16),
        (f"user/{UNIT}", ("--user",), None),
    ],
)
def test_the_units_are_valid_and_hardened(
    tmp_path: Path, unit: str, options: tuple[str, ...], exposure: int | None
) -> None:
    """systemd-analyze reports no problem, and the exposure is below the documented limit."""
    text = (UNITS / unit).read_text()
    for program in ("/usr/local/bin/aitbc-agent", "/usr/local/libexec/aitbc-power-helper"):
        text = text.replace(program, "/usr/bin/true")
    path = tmp_path / Path(unit).name
    path.write_text(text)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        ["systemd-analyze", "verify", *options, "--man=no", path],
        capture_output=True, text=True, timeout=300, check=False, env=environment,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    if exposure is not None:
        subprocess.run(
            ["systemd-analyze", "security", "--offline=true", f"--threshold={exposure}", path],
            stdout=subprocess.DEVNULL, timeout=300, check=True,
        )  # fmt: skip


def test_installing_starts_the_agent_and_waits_until_it_is_ready(installed: Box) -> None:
    """All seven services are offered: the unit's hardening permits bubblewrap to isolate programs."""
    state = installed.state
    assert state["ready"]
    assert state["enabled"]
    assert all(file["changed"] for file in state["files"])
    status = json.loads(installed.agent("status", "--json", "--data-dir", DATA).stdout)
    assert len(status["miner"]["services"]) == 7, status["miner"]["unavailable"]
    uid = installed.machine.run("stat", "--format=%U", f"/proc/{state['pid']}").stdout.strip()
    assert uid == "aitbc-agent"


def test_the_device_file_of_cuda_is_created_as_root_before_the_agent_starts(installed: Box) -> None:
    """The service itself may not use set-user-ID programs. Without the driver's program, the later tests start the service too."""
    assert installed.machine.run("cat", "/run/modprobe").stdout == "0 -c0 -u\n"
    installed.machine.run("rm", "/usr/bin/nvidia-modprobe", "/run/modprobe")


def test_a_secret_is_only_in_the_private_file_and_a_second_installation_changes_nothing(
    installed: Box,
) -> None:
    """All users can read units. The running agent is not restarted."""
    again = installed.service("install")
    assert not any(file["changed"] for file in again["files"])
    assert again["pid"] == installed.state["pid"]
    found = installed.machine.run("grep", "-rl", "enrol_a-secret", "/etc", check=False).stdout.split()
    assert found == ["/etc/aitbc-agent/agent.env"]
    assert installed.machine.run("stat", "--format=%a %U", found[0]).stdout == "600 root\n"


def test_a_real_job_runs_in_the_hardened_unit(installed: Box) -> None:
    """A video is transcoded in bubblewrap, and the unit's status shows the activity."""
    make_video(installed.shared / "in.mp4")
    installed.machine.run(
        str(AITBC), "transcode", f"{installed.shared}/in.mp4", f"{installed.shared}/out.mp4",
        "--codec", "h264", "--resolution", "320x180", **installed.agents_client(),
    )  # fmt: skip
    assert probe(installed.shared / "out.mp4")["streams"][0]["width"] == 320


def test_a_job_in_the_hardened_unit_cannot_escape_its_sandbox(installed: Box) -> None:
    """A model makes all escape attempts in a service with the agent's hardening, as the same user."""
    hardened = installed.machine.run("systemctl", "cat", UNIT).stdout
    base, answers = f"{DATA}/escapes", installed.shared / "escapes.json"
    configuration = json.dumps({"base": base, "sandboxes": SANDBOXES, "control": False})
    attack = f"""
[Service]
Type=oneshot
ExecStart=
ExecStart={sys.executable} -m support.escapes.agent_process {DATA}/escapes.json
Environment=PYTHONPATH={TESTS} AITBC_SECRET=the-agents-own TMPDIR=/tmp
RuntimeDirectory=
Restart=no
WatchdogSec=0
StandardOutput=file:{answers}
"""
    unit = (
        "\n".join(line for line in hardened.splitlines() if not line.startswith("RuntimeDirectory=")) + attack
    )
    installed.machine.run("sh", "-c", 'printf "%s" "$0" >/run/systemd/system/escapes.service', unit)
    installed.machine.run("sh", "-c", f'printf "%s" "$0" >{DATA}/escapes.json', configuration)
    installed.machine.run("chmod", "a+r", f"{DATA}/escapes.json")
    installed.machine.run("install", "-d", "-o", "aitbc-agent", "-g", "aitbc-agent", base)
    installed.machine.run("systemctl", "daemon-reload")
    started = installed.machine.run("systemctl", "start", "escapes.service", check=False)
    output = installed.machine.run("journalctl", "--unit=escapes.service", "--output=cat").stdout
    installed.machine.run("rm", "-rf", base, f"{DATA}/escapes.json")
    assert started.returncode == 0, output
    outcomes = json.loads(answers.read_text())
    assert set(outcomes) == set(SANDBOXES)
    for sandbox, outcome in outcomes.items():
        assert (outcome["signals"], outcome["changed"]) == ([], [])
        assert set(outcome["attempts"]) == set(ATTEMPTS)
        assert got_out(outcome["attempts"], sandbox) == {}


def test_a_hung_agent_is_killed_and_restarted(installed: Box) -> None:
    """A stopped process looks like a hanging one. The new process becomes ready, and the status shows the restart."""
    before = installed.service("status")["pid"]
    installed.machine.run("kill", "-STOP", str(before))
    installed.journal.until("Watchdog timeout")
    installed.journal.until("Fatal Python error: Aborted")  # the stack of the hanging process
    installed.journal.until(r"^Started aitbc-agent\.service")
    state = installed.service("status")
    assert state["ready"]
    assert state["pid"] != before
    assert state["restarts"] == 1
    assert any("Watchdog timeout" in line for line in state["errors"])


def test_a_stop_waits_for_the_running_job_beyond_the_units_time_limit(installed: Box) -> None:
    """The unit's limit is two seconds, the job needs more, and the agent extends the limit; no process is killed and no job repeated."""
    python = (sys.executable, "-c", SLOW_JOB)
    job = installed.machine.run(*python, **installed.agents_client()).stdout.strip()
    began = time.monotonic()
    installed.machine.run("systemctl", "stop", UNIT)
    assert time.monotonic() - began < 90
    assert installed.service("status", check=False)["result"] == "success"
    installed.journal.until("miner_stopped")
    assert not any("lease_released" in line for line in installed.journal.lines)
    installed.machine.run("systemctl", "start", UNIT)
    shown = installed.machine.run(str(AITBC), "jobs", "show", job, "--json", **installed.agents_client())
    assert json.loads(shown.stdout)["status"] == "completed"


def test_power_limits_are_set_by_a_helper_and_restored_when_the_agent_is_killed(installed: Box) -> None:
    """The agent's user may not set them itself. NVML is a stand-in with two cards."""
    machine = installed.machine
    NvmlShim(build(installed.shared / "nvml"), installed.shared / "nvml/cards")
    # This machine's /usr is read-only, unlike others'.
    machine.run("mount", "-t", "tmpfs", "tmpfs", "/usr/local")
    machine.run("cp", "-r", f"{installed.shared}/nvml", CARDS)
    machine.run("chmod", "-R", "a+rX", CARDS)
    cards = f"[Service]\nEnvironment=LD_LIBRARY_PATH={CARDS} NVML_SHIM_FILE={CARDS}/cards\n"
    changes = {
        UNIT: f"{cards}Environment=AITBC_MINER__ENERGY__POWER_LIMIT=200\nRestart=no\n",
        HELPER_UNIT: f"{cards}ReadWritePaths={CARDS}\n",
    }
    for unit, lines in changes.items():
        machine.run("mkdir", "-p", f"/run/systemd/system/{unit}.d")
        machine.run("sh", "-c", f'printf "%s" "$0" >/run/systemd/system/{unit}.d/cards.conf', lines)
    state = installed.service("install", "--power-limits")
    try:
        machine.run("systemctl", "restart", UNIT)
        _until_limit(machine, SET_LIMIT)
        state = installed.service("status")
        machine.run("kill", "-KILL", str(state["pid"]))
        _until_limit(machine, OWN_LIMIT)
        machine.run("systemctl", "start", UNIT)
        _until_limit(machine, SET_LIMIT)
        machine.run("systemctl", "stop", UNIT)
        _until_limit(machine, OWN_LIMIT)
        active = machine.run("systemctl", "is-active", HELPER_UNIT, check=False).stdout
        assert active == "inactive\n"
    finally:
        for unit in changes:
            machine.run("rm", f"/run/systemd/system/{unit}.d/cards.conf")
        machine.run("rmdir", f"/run/systemd/system/{HELPER_UNIT}.d")
        machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", UNIT)


def _until_limit(machine: Machine, milliwatts: str) -> None:
    """Wait until both cards have this limit."""
    end = time.monotonic() + 120
    while True:
        limits = machine.run(
            "cat", *(f"{CARDS}/cards.power_limit.{index}" for index in (0, 1)), check=False
        ).stdout
        if limits == milliwatts * 2:
            return
        assert time.monotonic() < end, (
            limits,
            machine.run("journalctl", f"--unit={HELPER_UNIT}", check=False).stdout,
        )
        time.sleep(0.2)


def test_uninstalling_leaves_only_data(installed: Box) -> None:
    """The output lists the data, the models' cache and their user."""
    answer = installed.service("uninstall")
    assert answer["not_removed"] == [DATA, "/var/cache/aitbc-agent/models"]
    assert installed.left_over() == {DATA, "/var/cache/aitbc-agent", f"/run/systemd/system/{UNIT}.d"}
    assert installed.agent("service", "status", check=False).returncode == 4
    again = installed.agent("service", "uninstall", check=False)
    assert (again.returncode, again.stderr) == (1, f"aitbc-agent: There is no {UNIT} to remove.\n")


def test_a_coordinators_unit_is_hardened_further(box: Box) -> None:
    """It responds, and its data belongs to a user that systemd creates for it."""
    state = box.service("install", "coordinator", "--port", "8431")
    assert state["ready"]
    assert state["status"] == "0 jobs running, 0 waiting, 0 miners connected"
    program = (
        "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8431/v1/health').read().decode())"
    )
    assert '"status":"ok"' in box.machine.run(sys.executable, "-c", program).stdout
    box.service("uninstall", "coordinator")


def test_a_users_own_service_uses_the_users_own_data(box: Box) -> None:
    """Without root, in the user's own systemd, with the directories of `aitbc-agent start`."""
    box.machine.run("systemd-sysusers", "--inline", "u alice - - /home/alice /bin/sh")
    box.machine.run("install", "-d", "-o", "alice", "-g", "alice", "/home/alice")
    box.machine.run("chmod", "711", "/root")
    box.machine.run("loginctl", "enable-linger", "alice")
    uid = box.machine.run("id", "-u", "alice").stdout.strip()
    box.machine.run("systemctl", "start", f"user@{uid}.service")
    alice = {"user": "alice", "HOME": "/home/alice", "XDG_RUNTIME_DIR": f"/run/user/{uid}"}
    state = box.service("install", "--user", **alice)
    assert state["ready"]
    assert state["data"][0] == "/home/alice/.local/share/aitbc-agent"
    answer = box.service("uninstall", "--user", **alice)
    assert answer["removed"][0] == f"/home/alice/.config/systemd/user/{UNIT}"


def test_uninstall_leaves_nothing_of_both_services(box: Box) -> None:
    """As root, it ends them and removes their units, their settings, their data and the agent's user."""
    box.service("install")
    box.service("install", "coordinator", "--port", "8432")
    refused = box.agent("uninstall", "--yes", user="alice", check=False)
    assert "sudo " in refused.stderr
    done = box.agent("uninstall", "--yes")
    assert f"stays    {DATA}\n" in done.stdout
    assert DATA in box.left_over()
    box.service("install")
    # The coordinator's data is found although its service has been removed.
    box.agent("uninstall", "--data", "delete", "--yes")
    alice = "/home/alice/.local/share/aitbc-agent"
    assert box.left_over() <= {f"/run/systemd/system/{UNIT}.d", "/run/aitbc-sandbox", alice}
    assert "aitbc" not in box.machine.run("cat", "/etc/passwd").stdout
