"""Programs that read what strangers sent run in here: no network, no view of the owner's files, bounded resources.

Bubblewrap gives the program its own namespaces and a file system of /usr and the few paths that it was granted.
`prlimit` bounds each of its processes, and because per-process limits do not add up (and root is exempt from some), a
watch over the whole process tree bounds their number, their memory and what they write. With the setting
`runners.sandbox = "off"` the limits and the watch remain, and the rest does not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from runners._base import Cancelled, Device, Retry, Tools
from runners.sandbox import mark
from runners.sandbox.watch import Ended, Limits, Outcome, watch

TEMPORARY_SIZE = 64 * 2**20
"""Bytes of /tmp and of /dev/shm inside the sandbox; both are memory."""

OPEN_FILES = 1024
"""Open files of one process."""

CPU_GRACE = 5
"""CPU seconds between the signal that says why and the one that cannot be ignored."""

AVAILABILITY_TIMEOUT = 10.0
"""Seconds that the trial of bubblewrap may take; it takes 10 ms where it works."""

_SYSTEM_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives")


@dataclass(slots=True)
class Sandbox:
    """One run of one program. Grant it paths, then call `run`.

    `read` and `write` take a path of this machine and the absolute path at which the program shall see it, and return
    the path to put on the command line: the latter in the sandbox, the former where the sandbox is off. With a CUDA
    `device` the program sees the GPUs' device files, and of the GPUs only that device.
    """

    tools: Tools
    limits: Limits
    device: Device | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    _mounts: list[tuple[str, str, str]] = field(default_factory=list)
    _writable: list[Path] = field(default_factory=list)

    def read(self, host: Path, inside: str) -> str:
        """Grant reading a file or directory. Links in `host` are followed now, outside the sandbox."""
        resolved = host.resolve(strict=True)
        self._mounts.append(("--ro-bind", str(resolved), inside))
        return inside if self._isolated else str(resolved)

    def write(self, host: Path, inside: str) -> str:
        """Grant reading and writing a directory; what it holds counts against `limits.output`."""
        resolved = host.resolve(strict=True)
        self._mounts.append(("--bind", str(resolved), inside))
        self._writable.append(resolved)
        return inside if self._isolated else str(resolved)

    def program(self, name: str) -> str:
        """Grant running a program given by name or path, with its installation where that is not below /usr.

        Raises `Retry` if it is not found.
        """
        found = shutil.which(name)
        if found is None:
            raise Retry(f"The program {name!r} was not found on this machine.", code="PROGRAM_MISSING")
        path = Path(found).resolve()
        if not path.is_relative_to("/usr"):
            installation = path.parent.parent if path.parent.name == "bin" else path
            self._mounts.append(("--ro-bind", str(installation), str(installation)))
        return str(path)

    def run(
        self,
        command: Sequence[str],
        *,
        directory: str | None = None,
        on_line: Callable[[str], None] | None = None,
        on_tick: Callable[[float], None] | None = None,
        on_cancel: Callable[[Callable[[], None]], None] | None = None,
    ) -> Outcome:
        """Run the program to its end and say how it ended.

        `directory` is its current directory (as `write` returned it), `on_line` gets each line of its standard
        output, `on_tick` about once a second the CPU seconds used so far, and `on_cancel` is
        `Context.on_cancel`. The process tree is killed when the job is cancelled (raises `Cancelled`), when a limit is
        passed, and when a callback raises. Raises `Retry` if the sandbox itself does not work.
        """
        if self._isolated and (reason := unavailable(self.tools)) is not None:
            raise Retry(reason, code="SANDBOX_UNAVAILABLE")
        outcome = watch(
            self._command(command, directory),
            self.limits,
            directory=None if self._isolated else directory,
            environment=self._environment(directory),
            writable=tuple(self._writable),
            on_line=on_line,
            on_tick=on_tick,
            on_cancel=on_cancel,
            announce="--info-fd" if self._isolated else None,
        )
        if outcome.ended is Ended.CANCELLED:
            raise Cancelled
        if self._isolated and outcome.exit_code != 0 and outcome.stderr.startswith("bwrap: "):
            raise Retry(f"The sandbox did not start: {outcome.stderr[:500]}", code="SANDBOX_UNAVAILABLE")
        return outcome

    @property
    def _isolated(self) -> bool:
        return self.tools.sandbox != "off"

    def _command(self, command: Sequence[str], directory: str | None) -> list[str]:
        limited = [*_limits(self.limits, count_processes=self._isolated), *command]
        if not self._isolated:
            return ["setpriv", "--pdeathsig", "KILL", *limited]
        devices = _nvidia_devices() if self.device is not None and self.device.kind == "cuda" else []
        variables = [
            word for item in self._environment(directory).items() for word in ("--setenv", item[0], item[1])
        ]
        # The outer ones first: a home below /work must not be hidden by the sandbox's own /work.
        ordered = sorted(self._mounts, key=lambda mount: len(Path(mount[2]).parts))
        mounts = [word for mount in ordered for word in mount]
        return [
            self.tools.bubblewrap,
            *_isolation(self.tools),
            *_system(),
            *devices,
            *mounts,
            *("--remount-ro", "/dev", "--remount-ro", "/"),
            *("--chdir", directory or "/"),
            *("--clearenv", *variables),
            "--",
            *limited,
        ]

    def _environment(self, directory: str | None) -> dict[str, str]:
        temporary = "/tmp" if self._isolated else (directory or "/tmp")  # noqa: S108 - the sandbox's own
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": temporary,
            "TMPDIR": temporary,
            "USER": "sandbox",
            "LOGNAME": "sandbox",
        }
        if self.device is not None and (self.device.kind == "cpu" or self.device.uuid is not None):
            environment["CUDA_VISIBLE_DEVICES"] = self.device.uuid or ""
        return {**environment, **mark.inherited(), **self.environment}


def unavailable(tools: Tools) -> str | None:
    """Why programs cannot be run on this machine and what its owner can do, or None if they can.

    Really starts bubblewrap once for each process and setting.
    """
    if tools.sandbox == "off":
        missing = [name for name in ("setpriv", "prlimit") if shutil.which(name) is None]
        return f"{missing[0]} was not found; install util-linux." if missing else None
    return _trial(tools.bubblewrap, _isolation(tools))


@cache
def _trial(bubblewrap: str, isolation: tuple[str, ...]) -> str | None:
    if shutil.which(bubblewrap) is None:
        return (
            f"The sandbox program {bubblewrap!r} was not found; install bubblewrap (apt-get install bubblewrap) or "
            "set runners.bubblewrap to its path."
        )
    command = [bubblewrap, *isolation, *_system(), "--remount-ro", "/", "--", "prlimit", "--core=0", "true"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            command, capture_output=True, text=True, timeout=AVAILABILITY_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap could not be run ({error})."
    if done.returncode == 0:
        return None
    return (
        f"bubblewrap does not work here ({done.stderr.strip()[-300:]}); allow user namespaces "
        "(sysctl kernel.unprivileged_userns_clone=1, or an AppArmor profile for bwrap), or in a container "
        "run it with --security-opt seccomp=unconfined --security-opt systempaths=unconfined."
    )


def _isolation(tools: Tools) -> tuple[str, ...]:
    """Bubblewrap's flags; with nested user namespaces switched off where its version and the kernel can."""
    base = ("--unshare-all", "--cap-drop", "ALL", "--die-with-parent", "--new-session")
    hardened = (*base, "--unshare-user", "--disable-userns")
    return hardened if _trial(tools.bubblewrap, hardened) is None else base


def _system() -> list[str]:
    """The mounts that every program needs: /usr read-only, the loader's configuration, devices, small memory disks."""
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in _SYSTEM_LINKS:
        path = Path("/", name)
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
    for name in _SYSTEM_FILES:
        arguments += ["--ro-bind-try", name, name]
    size = ("--size", str(TEMPORARY_SIZE), "--tmpfs")
    return [*arguments, "--proc", "/proc", "--dev", "/dev", *size, "/dev/shm", *size, "/tmp"]  # noqa: S108 - inside


def _nvidia_devices() -> list[str]:
    """Mounts for CUDA and NVENC: the device files, and /sys, in which the driver looks the cards up."""
    arguments = ["--ro-bind", "/sys", "/sys"]
    for path in sorted(Path("/dev").glob("nvidia*")):
        arguments += ["--dev-bind-try", str(path), str(path)]
    return arguments


def _limits(limits: Limits, *, count_processes: bool) -> list[str]:
    """The `prlimit` command line. RLIMIT_DATA and not RLIMIT_AS: engines reserve much address space without using it.

    The number of processes is limited only in a user namespace, where the count begins at zero; elsewhere it would
    count the owner's other programs.
    """
    cpu = max(1, round(limits.cpu_seconds))
    words = [
        "prlimit",
        f"--data={limits.memory}",
        f"--cpu={cpu}:{cpu + CPU_GRACE}",
        f"--fsize={limits.output}",
        f"--nofile={OPEN_FILES}",
        "--core=0",
    ]
    return [*words, f"--nproc={limits.processes}"] if count_processes else words


def python_prefix() -> Path:
    """The installation of the Python that runs this program, also when that is a virtual environment."""
    return Path(sysconfig.get_config_var("installed_base") or os.sep).resolve()
