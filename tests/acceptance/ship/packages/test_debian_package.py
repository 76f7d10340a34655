"""The Debian packages on an empty Debian with a booted systemd: installed by apt, a first job, a stop, an upgrade under load, removal, purge.

The machine has no network: its apt has downloaded what the package depends on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.agents import READY
from support.inputs.media import make_video
from support.machines import nspawn
from support.machines.debian import bootable_debian
from support.versions.installed import NEXT, THIS, installed

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).parents[4]
BUILD_SECONDS = 900
APT_SECONDS = 1200
WAIT_SECONDS = 600
DATA = "/var/lib/aitbc-agent"
UNIT = "aitbc-agent.service"
PYTHON = "/usr/lib/aitbc-agent/bin/python3"
SUITES = {"debian12": "bookworm", "debian13": "trixie"}
IGNORED = (
    "/var/lib/dpkg", "/var/lib/apt", "/var/lib/systemd", "/var/cache", "/var/log", "/root", "/tmp", "/home",  # noqa: S108
)  # fmt: skip
LEFT = {"debian12": set[str](), "debian13": {"/etc/hosts"}}
"""What a purge with all that came with the package leaves: a file that Debian's netbase has created."""
JOBS = 8
AARCH64 = 183
"""The number of the processor in a program's head."""
needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is missing")
APT = "DEBIAN_FRONTEND=noninteractive apt-get --yes --no-install-recommends"
# Submits jobs with the client's own code, and prints their ids once the first one runs.
CLIENT = """
import json, sys
from aitbc import AITBCClient
count, seconds = int(sys.argv[1]), float(sys.argv[2])
body = {
    "name": "slow", "type": "ai-inference", "input": {"type": "text"}, "output": {"type": "json"},
    "model": {"type": "python", "entrypoint": "model.py", "requirements": []},
}
model = f"import time\\ndef predict(input):\\n    time.sleep({seconds})\\n    return {{'slept': {seconds}}}\\n".encode()
client = AITBCClient()
jobs = [client.jobs.create(body, files={"model.py": model, "in.txt": b"."}).job_id for _ in range(count)]
next(event for event in client.jobs.events(jobs[0]) if event.job and event.job.status == "running")
print(json.dumps(jobs))
"""


@dataclass(frozen=True)
class DebianBox:
    """A Debian, its root directory, and the packages of this version and of the next one in `/root`."""

    machine: nspawn.Machine
    root: Path
    package: Path
    following: Path

    def run(self, *words: str, check: bool = True, **options: str) -> str:
        return self.machine.run(*words, check=check, **options).stdout

    def shell(self, script: str, *, seconds: float = APT_SECONDS) -> str:
        """Run a script as root. Returns what it prints."""
        done = subprocess.run(
            self.machine.command("sh", "-ec", script, HOME="/root"),
            capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def client(self) -> dict[str, str]:
        """Return the environment of a client of the service's coordinator."""
        file = json.loads(self.run("cat", f"{DATA}/agent.json"))
        return {"AITBC_BASE_URL": file["url"], "AITBC_API_KEY": file["client_key"], "HOME": "/root"}

    def log_key(self, data_dir: str) -> str:
        """Return the key of a running agent's coordinator, under which its receipts verify."""
        key: str = json.loads(self.run("cat", f"{data_dir}/agent.json"))["log_key"]
        return key

    def until_ready(self) -> None:
        """Wait until the service is."""
        end = time.monotonic() + WAIT_SECONDS
        while self.run("systemctl", "is-active", UNIT, check=False) != "active\n":
            assert time.monotonic() < end, self.run("journalctl", f"--unit={UNIT}", "--lines=40")
            time.sleep(0.5)

    def submitted(self, count: int, seconds: float) -> list[str]:
        """Submit jobs that take so long, and wait until one runs. Returns their ids."""
        answer = self.run(PYTHON, "-c", CLIENT, str(count), str(seconds), **self.client())
        jobs: list[str] = json.loads(answer)
        return jobs

    def job(self, job: str) -> dict[str, object]:
        shown = self.run("aitbc", "jobs", "show", job, "--json", **self.client())
        answer: dict[str, object] = json.loads(shown)
        return answer

    def paths(self) -> set[str]:
        """Return all paths, but for those of packages' own databases, of logs, and of processes."""
        prune = " -o ".join(f"-path {path}" for path in IGNORED)
        return set(self.shell(f"find / -xdev \\( {prune} \\) -prune -o -print").splitlines())


def built(
    wheels: Path, out: Path, distribution: str, architecture: str | None = None, **environment: str
) -> Path:
    """Build a package, by default for this machine's processor."""
    own = subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    ).stdout.strip()
    words = [ROOT / "scripts/deb", "--wheels", wheels, "--out", out]
    words += ["--distribution", distribution, "--architecture", architecture or own]
    variables = {**os.environ, **environment}
    printed = subprocess.run(
        words, check=True, capture_output=True, text=True, timeout=BUILD_SECONDS, env=variables
    )
    return Path(printed.stdout.strip())


@needs_dpkg
def test_the_same_wheels_give_the_same_package(tmp_path: Path) -> None:
    """In another directory, time zone and language."""
    wheels = installed(THIS).wheels
    moment = {"SOURCE_DATE_EPOCH": "1800000000"}
    first = built(wheels, tmp_path / "first", "debian13", **moment)
    shutil.copytree(wheels, tmp_path / "wheels")
    second = built(
        tmp_path / "wheels", tmp_path / "second", "debian13", TZ="Asia/Tokyo", LC_ALL="C", **moment
    )
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


@needs_dpkg
def test_a_package_for_another_processor_contains_only_its_programs(tmp_path: Path) -> None:
    """It also has what the distribution's Python needs: modules compiled for Python 3.12 of Ubuntu, or for several."""
    package = built(installed(THIS).wheels, tmp_path, "ubuntu24.04", "arm64")
    depends = subprocess.run(
        ["dpkg-deb", "--field", package, "Depends"], check=True, capture_output=True, text=True
    )
    assert depends.stdout.startswith("python3 (>= 3.12), python3 (<< 3.13), ")
    subprocess.run(["dpkg-deb", "--extract", package, tmp_path / "tree"], check=True, timeout=BUILD_SECONDS)
    files = [path for path in (tmp_path / "tree").rglob("*") if path.is_file() and not path.is_symlink()]
    programs = {path: head for path in files if (head := path.read_bytes()[:20]).startswith(b"\x7fELF")}
    assert len(programs) > 20
    assert {int.from_bytes(head[18:20], "little") for head in programs.values()} == {AARCH64}
    versions = {match[1] for path in programs if (match := re.search(r"\.cpython-(\d+)", path.name))}
    assert versions == {"312"}


@pytest.fixture(scope="module", params=list(SUITES))
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DebianBox]:
    """Boot the distribution, with the packages."""
    reason = nspawn.missing()
    if reason is None and (
        lacking := [name for name in ("debootstrap", "dpkg-deb") if not shutil.which(name)]
    ):
        reason = f"missing: {', '.join(lacking)}"
    if reason is not None:
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp(request.param)
    package = built(installed(THIS).wheels, directory, request.param)
    following = built(installed(NEXT).wheels, directory, request.param)
    root = directory / "root"
    root.mkdir()
    archive = bootable_debian(SUITES[request.param], package)
    subprocess.run(["tar", "-C", root, "-xf", archive], check=True, timeout=BUILD_SECONDS)
    for path in (package, following):
        shutil.copy(path, root / "root")
    with nspawn.booted_root(root, directory) as machine:
        yield DebianBox(machine, root, package, following)


@pytest.fixture(scope="module")
def empty(box: DebianBox) -> set[str]:
    """Return the paths of the machine of alice before anything is installed."""
    box.run("useradd", "--create-home", "alice")
    return box.paths()


@pytest.fixture(scope="module")
def package(
    box: DebianBox, empty: set[str], record_testsuite_property: Callable[[str, object], None]
) -> DebianBox:
    """Install the package, as an owner does."""
    began = time.monotonic()
    printed = box.shell(f"{APT} install /root/{box.package.name}")
    record_testsuite_property(f"seconds to install {box.package.name}", round(time.monotonic() - began))
    size = box.run("dpkg-query", "--show", "--showformat=${Installed-Size}", "aitbc-agent")
    record_testsuite_property(f"KiB of {box.package.name}", int(size))
    assert "sudo systemctl enable --now aitbc-agent" in printed
    assert "Warning" not in printed
    return box


def test_an_owner_starts_the_agent_by_hand(package: DebianBox) -> None:
    """Nothing runs before, so that the port is free. The client finds the agent of the same user."""
    assert package.run("systemctl", "is-active", UNIT, check=False) == "inactive\n"
    make_video(package.root / "home/alice/in.mp4")
    alice = {"user": "alice", "HOME": "/home/alice"}
    command = package.machine.command("aitbc-agent", "start", **alice)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().startswith(READY)
            assert _transcodes(
                package, "/home/alice", "/home/alice/.local/share/aitbc-agent", **alice
            ).startswith("valid: ")
        finally:
            package.run("aitbc-agent", "stop", **alice)
        process.stdout.read()
    assert process.returncode == 0


def test_the_service_runs_a_first_job_that_verifies(package: DebianBox) -> None:
    """It is the package's unit with the settings in /etc, whose name the miner has."""
    package.run(
        "sed", "-i", 's/^# Not set. Written like: name = .*/name = "of-the-package"/', "/etc/aitbc/agent.toml"
    )
    package.run("aitbc-agent", "config", "check", "/etc/aitbc/agent.toml")
    package.run("systemctl", "enable", "--now", UNIT)
    make_video(package.root / "root/in.mp4")
    assert _transcodes(package, "/root", DATA, **package.client()).startswith("valid: ")
    status = json.loads(package.run("aitbc-agent", "status", "--json", "--data-dir", DATA))
    assert set(status["miner"]["services"]) == {"ai_inference", "video_transcoding"}
    assert "of-the-package" in package.run("aitbc-agent", "status", "--data-dir", DATA)
    assert package.run("systemctl", "is-active", "aitbc-power.service", check=False) == "inactive\n"


def _transcodes(box: DebianBox, directory: str, data_dir: str, **options: str) -> str:
    """Transcode the video of a directory, and verify the receipt. Returns the verdict."""
    video, receipt = f"{directory}/out.mp4", f"{directory}/receipt.json"
    box.run(
        "aitbc", "transcode", f"{directory}/in.mp4", video, "--codec", "h264", "--resolution", "320x180",
        "--receipt", receipt, **options,
    )  # fmt: skip
    checks = box.run(
        "aitbc", "receipts", "verify", receipt, "--artifact", video, "--log-key", box.log_key(data_dir), **options
    )  # fmt: skip
    return checks.splitlines()[-1]


def test_installing_the_service_again_writes_no_second_unit(package: DebianBox) -> None:
    """The settings are the only file, and the running agent uses them."""
    answer = json.loads(package.run("aitbc-agent", "service", "install", "--port", "8421", "--json"))
    assert [file["path"] for file in answer["files"]] == ["/etc/aitbc-agent/agent.env"]
    assert package.client()["AITBC_BASE_URL"].endswith(":8421")
    fragment = package.run("systemctl", "show", "--property=FragmentPath", "--value", UNIT)
    assert fragment.endswith(f"/lib/systemd/system/{UNIT}\n")


def test_the_agent_names_apt_for_its_update(package: DebianBox) -> None:
    program = (
        "from agent.updates.installation import installation as i; print(i().way, i().update, sep='\\n')"
    )
    way, update = package.run(PYTHON, "-c", program).splitlines()
    assert way == "deb"
    assert update.startswith("sudo apt install ./aitbc-agent_")


def test_shells_complete_the_commands(package: DebianBox) -> None:
    script = "cd /root; . /usr/share/bash-completion/completions/aitbc-agent; COMP_WORDS=(aitbc-agent doc) COMP_CWORD=1; "
    completed = package.run(
        "bash", "-c", f'{script} _aitbc_agent_completion aitbc-agent; echo "${{COMPREPLY[@]}}"'
    )
    assert completed == "doctor\n"


def test_a_stop_waits_for_the_running_job(package: DebianBox) -> None:
    """The lease is not returned, and the job has one run."""
    (job,) = package.submitted(1, 8)
    package.run("systemctl", "stop", UNIT)
    assert package.run("systemctl", "show", "--property=Result", "--value", UNIT) == "success\n"
    assert "lease_released" not in package.run("journalctl", f"--unit={UNIT}", "--output=cat")
    package.run("systemctl", "start", UNIT)
    assert package.job(job)["status"] == "completed"


def test_an_upgrade_under_load_loses_no_job(package: DebianBox) -> None:
    """The running job ends, then apt replaces the files and starts the new version, which completes the jobs that wait."""
    jobs = package.submitted(JOBS, 3)
    before = package.run("systemctl", "show", "--property=MainPID", "--value", UNIT)
    package.shell(f"{APT} install /root/{package.following.name}")
    package.until_ready()
    assert package.run("systemctl", "show", "--property=MainPID", "--value", UNIT) != before
    assert package.run("aitbc-agent", "--version") == f"aitbc-agent {NEXT}\n"
    end = time.monotonic() + WAIT_SECONDS
    while (states := {str(package.job(job)["status"]) for job in jobs}) != {"completed"}:
        assert states <= {"submitted", "running", "completed"}, states
        assert time.monotonic() < end, states
        time.sleep(1)
    assert "of-the-package" in package.run("aitbc-agent", "status", "--data-dir", DATA)


def test_removal_leaves_data_and_settings_and_purge_nothing(package: DebianBox, empty: set[str]) -> None:
    """Of the machine remain the files that libraries of others create on their own."""
    package.shell(f"{APT} remove aitbc-agent")
    assert not (package.root / "usr/lib/aitbc-agent").exists()
    assert (package.root / "var/lib/aitbc-agent/coordinator").is_dir()
    assert (package.root / "etc/aitbc/agent.toml").is_file()
    assert "aitbc-agent" in package.run("getent", "passwd", "aitbc-agent")
    package.shell(f"{APT} purge --autoremove aitbc-agent")
    left = package.paths() - empty
    # Debian's own packages, which recommend some of the libraries, retain these.
    owned = set(package.shell("cat /var/lib/dpkg/info/*.list").splitlines())
    (expected,) = (paths for name, paths in LEFT.items() if name in package.package.name)
    assert left - owned == expected
    hidden = [
        path for kind in ("lib", "cache", "log") for path in (package.root / "var" / kind).rglob("*aitbc*")
    ]
    assert [path for path in hidden if "dpkg" not in path.parts] == []
    assert package.run("getent", "passwd", "aitbc-agent", check=False) == ""
