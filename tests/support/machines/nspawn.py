"""A separate machine with a booted systemd, which shares only this system's programs.

The root has the few files of a new Debian and this system's /usr, read-only; systemd creates the rest, as on the first boot of
any machine. The only network is loopback.
"""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.machines.bare_root import ACCOUNTS, make_root

BOOT_SECONDS = 180
CALL_SECONDS = 120
_PROJECT = Path(__file__).parents[3]
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"


def missing() -> str | None:
    """Return the reason why no machine can boot here, or None."""
    if os.geteuid() != 0:
        return "booting a machine with systemd-nspawn requires root"
    if shutil.which("systemd-nspawn") is None:
        return "systemd-nspawn is missing (Debian: apt-get install systemd-container)"
    if not ACCOUNTS.is_dir():
        return "this system is not Debian, whose files the machine is made of"
    return None


class Machine:
    """A booted machine. `run` runs a command in it as root, `user` as another user."""

    def __init__(self, process: subprocess.Popen[bytes], leader: int) -> None:
        self._process = process
        self._leader = leader

    def command(self, *words: str, user: str = "root", **environment: str) -> list[str]:
        """Return the command line that runs `words` in the machine."""
        variables = {"PATH": _PATH, "LANG": "C.UTF-8", **environment}
        clean = ["env", "-i", *(f"{name}={value}" for name, value in variables.items())]
        whose = [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        return ["nsenter", "-t", str(self._leader), "-a", *clean, *whose, *words]

    def run(
        self, *words: str, check: bool = True, user: str = "root", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*words, user=user, **environment),
            capture_output=True,
            text=True,
            timeout=CALL_SECONDS,
            check=False,
        )
        assert not check or done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done

    def off(self) -> None:
        """Switch the machine off at once, like a power failure: its data is no longer needed."""
        subprocess.run(
            self.command("systemctl", "poweroff", "--force", "--force"),
            capture_output=True, timeout=CALL_SECONDS, check=False,
        )  # fmt: skip
        try:
            self._process.wait(BOOT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Journal:
    """Follows the journal of a unit from its beginning."""

    def __init__(self, machine: Machine, unit: str) -> None:
        self._queue: queue.Queue[str] = queue.Queue()
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            machine.command("journalctl", "--follow", "--no-tail", "--output=cat", f"--unit={unit}"),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._queue.put(line.rstrip("\n"))

    def until(self, pattern: str, seconds: float = BOOT_SECONDS) -> str:
        """Return the next line that matches `pattern`."""
        while True:
            try:
                line = self._queue.get(timeout=seconds)
            except queue.Empty:
                raise AssertionError(
                    f"the journal has no line like {pattern!r}: {self.lines[-20:]}"
                ) from None
            self.lines.append(line)
            if re.search(pattern, line):
                return line

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)  # nsenter and its children
        self._process.wait()


@contextmanager
def booted(directory: Path, *, writable: Sequence[Path] = ()) -> Iterator[Machine]:
    """Boot a machine with its root in `directory`, this project and its Python, and `writable` directories."""
    root = _make_root(directory / "root")
    binds = [f"--bind-ro={path}" for path in ("/usr", "/etc/alternatives", "/etc/ld.so.cache", *_program())]
    with booted_root(root, directory, [*binds, *(f"--bind={path}" for path in writable)]) as machine:
        yield machine


@contextmanager
def booted_root(root: Path, directory: Path, binds: Sequence[str] = ()) -> Iterator[Machine]:
    """Boot a machine with this root directory, which shares nothing with this system but `binds`. Its console is in `directory`."""
    command = [
        "systemd-nspawn", "--boot", f"--directory={root}", "--register=no", "--keep-unit", "--private-network",
        "--console=pipe", "--notify-ready=yes", f"--machine=aitbc-{os.getpid()}", *binds,
    ]  # fmt: skip
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(directory / "notify"))
        notices.settimeout(BOOT_SECONDS)
        with (directory / "console.log").open("wb") as console:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={**os.environ, "NOTIFY_SOCKET": str(directory / "notify")},
            )
        try:
            machine = Machine(process, _leader(notices))
        except BaseException:
            process.kill()
            process.wait()
            raise
    try:
        _bare_proc(machine)
        yield machine
    finally:
        machine.off()


def _make_root(root: Path) -> Path:
    make_root(root)
    shutil.copytree("/etc/pam.d", root / "etc/pam.d")
    shutil.copy("/usr/lib/os-release", root / "etc/os-release")
    (root / "etc/machine-id").touch()
    # The loader's cache is this system's and read-only.
    (root / "etc/systemd/system").mkdir(parents=True)
    (root / "etc/systemd/system/ldconfig.service").symlink_to("/dev/null")
    return root


def _program() -> list[Path]:
    """Return the directories of the project, its Python and its packages, without those inside another one."""
    needed = {_PROJECT, *(Path(name) for name in (sys.prefix, sys.base_prefix, *sys.path) if name)}
    found: list[Path] = []
    existing = [path for path in needed if path.is_dir()]
    for path in sorted({*existing, *(path.resolve() for path in existing)}):
        if not any(path.is_relative_to(other) for other in ("/usr", *found)):
            found.append(path)
    return found


def _leader(notices: socket.socket) -> int:
    """Wait until the machine has booted, and return its first process; nspawn reports both."""
    leader = 0
    while True:
        notice = notices.recv(4096).decode()
        if found := re.search(r"^X_NSPAWN_LEADER_PID=(\d+)$", notice, re.MULTILINE):
            leader = int(found[1])
        if leader and re.search(r"^READY=1$", notice, re.MULTILINE):
            return leader


def _bare_proc(machine: Machine) -> None:
    """Mount /proc as on a real machine: nspawn covers parts of it, and bubblewrap could not create one of its own."""
    mounts = [line.split()[4] for line in machine.run("cat", "/proc/self/mountinfo").stdout.splitlines()]
    for mount in sorted({path for path in mounts if path.startswith("/proc/")}, reverse=True):
        machine.run("umount", "--lazy", mount, check=False)
    left = machine.run("grep", "-c", " /proc/", "/proc/self/mountinfo", check=False).stdout.strip()
    assert left == "0", "parts of /proc are still covered"
    # The boot id was covered too; the journal must be written under the id that its readers see.
    machine.run("systemctl", "restart", "systemd-journald")
