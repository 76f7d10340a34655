"""The first sandbox: bubblewrap gives a program its own namespaces and a file system of /usr and the granted paths.

For an agent that is root, bubblewrap makes the namespaces with root's privileges, and the program then becomes its own
user; for any other agent they are made in a user namespace. bubblewrap reads its arguments from a descriptor, so that no path of
the machine is on a command line that the program can read in /proc.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runners.api import PROBE_SECONDS, FailureCode, TimedOut, cached_probe
from runners.sandbox import gpus, seccomp
from runners.sandbox.landlock import SYSTEM_FILES
from runners.sandbox.users import NOBODY, User

TEMPORARY_SIZE: Final = 64 * 2**20
"""Bytes of /tmp and of /dev/shm inside the sandbox; both are in memory."""

SYSTEM_LINKS: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
NETWORK_FILES: Final = (
    *("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf"),
    *("/etc/ssl", "/etc/ca-certificates", "/etc/pki", "/usr/share/ca-certificates"),
)
"""Files that a program needs to resolve and authenticate other machines."""

_COMMON: Final = (
    "--unshare-ipc",
    "--unshare-pid",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--die-with-parent",
    "--new-session",
)
_AS_ROOT: Final = (
    "--cap-drop",
    "ALL",
    "--cap-add",
    "CAP_SETUID",
    "--cap-add",
    "CAP_SETGID",
    "--cap-add",
    "CAP_SETPCAP",
)
"""The privileges for becoming another user; they are dropped with it."""

_AS_USER: Final = ("--cap-drop", "ALL", "--unshare-user")
_NO_FURTHER_USERS: Final = "--disable-userns"

_PROC_READ_ONLY: Final = ("sys", "sysrq-trigger", "irq", "bus", "fs", "asound", "acpi", "driver")
_PROC_HIDDEN: Final = (
    "kcore",
    "keys",
    "key-users",
    "latency_stats",
    "timer_list",
    "sched_debug",
    "kallsyms",
    "modules",
    "kmsg",
)
"""Entries of /proc about the machine instead of the program."""


@dataclass(frozen=True, slots=True)
class Grants:
    """The grants of a program in addition to the system: mounts as (option, path here, path inside), environment variables, and the names in /dev of a GPU's device files."""

    mounts: Sequence[tuple[str, str, str]] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: str = "/"
    devices: Sequence[str] | None = None
    network: bool = False


@contextmanager
def started_by(
    bubblewrap: str, grants: Grants, command: Sequence[str], user: User | None
) -> Iterator[tuple[list[str], list[int]]]:
    """Yield the command line that runs `command` inside, and the descriptors that it must inherit."""
    filters = seccomp.filters("host" if grants.network else "own", landlock=False)
    with seccomp.opened(filters) as descriptors:
        words = [
            *_isolation(bubblewrap, network=grants.network),
            *(word for descriptor in descriptors for word in ("--add-seccomp-fd", str(descriptor))),
            *_system(),
            *(_cards(grants.devices) if grants.devices is not None else ()),
            *(_shared(NETWORK_FILES) if grants.network else ()),
            # Outer mounts first: the sandbox's own /work must not hide a home below /work.
            *(
                word
                for mount in sorted(grants.mounts, key=_depth)
                for word in ("--dir", str(Path(mount[2]).parent), *mount)
            ),
            # After all mounts, for which bubblewrap creates directories there.
            *("--remount-ro", "/dev", "--remount-ro", "/"),
            # The environment of bubblewrap itself is the agent's, with its secrets.
            *("--chdir", grants.directory, "--clearenv"),
            *(word for item in grants.environment.items() for word in ("--setenv", *item)),
        ]
        arguments = seccomp.memory_file(b"".join(os.fsencode(word) + b"\0" for word in words))
        try:
            yield (
                [bubblewrap, "--args", str(arguments), "--", *_as_user(user), *command],
                [*descriptors, arguments],
            )
        finally:
            os.close(arguments)


@cached_probe
def unavailable(bubblewrap: str) -> str | None:
    """Return why bubblewrap cannot be used here, with a remedy; None if it can. Starts it. Raises `TimedOut`."""
    return seccomp.unavailable() or _failure(bubblewrap, _isolation(bubblewrap, network=False))


def _isolation(bubblewrap: str, *, network: bool) -> tuple[str, ...]:
    """Return the options for namespaces, with nested user namespaces disabled if bubblewrap and the kernel support that."""
    common = _COMMON if network else (*_COMMON, "--unshare-net")
    if os.geteuid() == 0:
        return (*common, *_AS_ROOT)
    # A program that makes user namespaces reaches parts of the kernel that are otherwise reserved to root. Older versions lack the option.
    hardened = (*_AS_USER, _NO_FURTHER_USERS)
    chosen = hardened if _failure(bubblewrap, (*_COMMON, *hardened)) is None else _AS_USER
    return (*common, *chosen)


@cached_probe
def _failure(bubblewrap: str, isolation: tuple[str, ...]) -> str | None:
    if shutil.which(bubblewrap) is None:
        return (
            f"The sandbox program {bubblewrap!r} was not found; install bubblewrap (apt-get install bubblewrap) or "
            "set runners.bubblewrap to its path."
        )
    user = User(NOBODY, NOBODY) if os.geteuid() == 0 else None
    last = ("--remount-ro", "/", "--")
    # The probe must mount, change the user and set a limit just like a run: each of them fails on some machines.
    command = [
        bubblewrap,
        *isolation,
        *_system(),
        *last,
        *_as_user(user),
        "prlimit",
        "--core=0",
        "true",
    ]
    try:
        probe = subprocess.run(  # noqa: S603 - a fixed command
            command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise TimedOut(
            f"The test of bubblewrap did not end within {PROBE_SECONDS:g} s.",
            code=FailureCode.SANDBOX_UNAVAILABLE,
        ) from None
    except OSError as error:
        return f"bubblewrap could not be run ({error})."
    if probe.returncode == 0:
        return None
    return (
        f"bubblewrap does not work here ({probe.stderr.strip()[-300:]}); allow user namespaces "
        "(sysctl kernel.unprivileged_userns_clone=1, or an AppArmor profile for bwrap), or in a container "
        "run it with the options of docs/how-to/containers.md."
    )


def _as_user(user: User | None) -> list[str]:
    """Return the command that becomes the user and drops all privileges. It runs inside, so that mounts are made as root."""
    if user is None:
        return []
    groups = ",".join(map(str, user.groups))
    identity = ["--reuid", str(user.id), "--regid", str(user.id), "--groups", groups]
    return ["setpriv", *identity, "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"]


def _system() -> list[str]:
    """Return the mounts of every program: /usr read-only, the loader's configuration, devices, small memory disks."""
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in SYSTEM_LINKS:
        path = Path("/", name)
        if path.is_symlink():
            # On merged systems /bin is a link to /usr/bin; elsewhere it is a directory of its own.
            arguments += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
    arguments += [
        "--dir",
        "/etc",
        *_shared(SYSTEM_FILES),
        "--proc",
        "/proc",
        *_closed_proc(),
        "--dev",
        "/dev",
    ]
    # Without a size, a memory disk takes up to half of the machine's memory, which no limit of a process counts.
    memory = ("--perms", "1777", "--size", str(TEMPORARY_SIZE), "--tmpfs")
    return [*arguments, *memory, "/dev/shm", *memory, "/tmp"]  # noqa: S108 - inside


def _closed_proc() -> list[str]:
    """Return mounts over the parts of /proc with which a program could inspect or change the machine."""
    arguments: list[str] = []
    for name in _PROC_READ_ONLY:
        arguments += ["--ro-bind-try", f"/proc/{name}", f"/proc/{name}"]
    for name in _PROC_HIDDEN:
        if Path("/proc", name).exists():
            # An entry of /proc cannot be deleted, only covered.
            arguments += ["--ro-bind", "/dev/null", f"/proc/{name}"]
    return arguments


def _cards(names: Sequence[str]) -> list[str]:
    """Return the mounts for CUDA and NVENC: the device files, and /sys, in which the driver finds the cards."""
    arguments = ["--ro-bind", "/sys", "/sys"]
    for name in names:
        # A directory that bubblewrap makes by itself for a mount is closed to other users. An ordinary bind mount refuses device files.
        arguments += ["--dir", str(Path("/dev", name).parent)]
        arguments += ["--dev-bind-try", str(gpus.DEVICES / name), f"/dev/{name}"]
    return arguments


def _shared(paths: Sequence[str]) -> list[str]:
    return [word for path in paths for word in ("--ro-bind-try", path, path)]


def _depth(mount: tuple[str, str, str]) -> int:
    return len(Path(mount[2]).parts)
