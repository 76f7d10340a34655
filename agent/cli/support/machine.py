"""The parts of a bundle about the machine: versions, hardware, disks, processes, files."""

from __future__ import annotations

import os
import platform
import resource
import shlex
import shutil
import stat
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any, Final

import psutil

from agent import __version__
from agent.cli.support.workplace import Workplace
from agent.core.values.quantities import format_time
from agent.miner.engines.environments import RECORD, engines_directory, read_environment
from agent.miner.machine import hardware
from agent.updates.installation import installation

MAX_FILES: Final = 500
_CLIENTS_FILES: Final = frozenset({"jobs", "artifacts", "blobs", "uploads", "checkpoints"})
"""Directories whose content has names that clients chose, or says which files they had."""
# Of all others only the names are shown: a variable may hold a secret under any name.
_SHOWN_VARIABLES: Final = (
    "CUDA_", "NVIDIA_", "LD_LIBRARY_PATH", "LD_PRELOAD", "PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LC_", "TZ", "XDG_", "HOME", "USER", "SHELL",
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_", "OMP_", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME",
    "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "INVOCATION_ID", "container", "WSL_DISTRO_NAME", "AITBC_DATA_DIR", "AITBC_MODELS_DIR", "AITBC_CACHE_DIR",
)  # fmt: skip
_PROGRAMS: Final = frozenset({"aitbc-agent", "runners.host"})
_FACTS: Final = {
    "distribution": "/etc/os-release",
    "nvidia driver": "/proc/driver/nvidia/version",
    "nvidia parameters": "/proc/driver/nvidia/params",
    "user namespaces (AppArmor)": "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "user namespaces (limit)": "/proc/sys/user/max_user_namespaces",
    "user namespaces (Debian)": "/proc/sys/kernel/unprivileged_userns_clone",
    "security modules": "/sys/kernel/security/lsm",
    "pressure of memory": "/proc/pressure/memory",
    "pressure of disks": "/proc/pressure/io",
    "pressure of the processor": "/proc/pressure/cpu",
    "own cgroup": "/proc/self/cgroup",
    "limits of this process": "/proc/self/limits",
}


def versions(workplace: Workplace) -> Mapping[str, Any]:
    """Return the versions of everything that takes part, and how the agent was installed."""
    way = installation()
    return {
        "agent": __version__,
        "sdk": version("aitbc"),
        "installed by": {"way": str(way.way), "directory": str(way.environment), "update": way.update},
        "python": sys.version,
        "executable": sys.executable,
        "kernel": " ".join(platform.uname()[2:5]),
        "C library": " ".join(platform.libc_ver()),
        "distribution": _distribution(),
        "kind of machine": _kind_of_machine(),
        "nvidia driver": _first_line(Path("/proc/driver/nvidia/version")),
        "time": format_time(time.time()),
        "time zone": time.strftime("%Z %z"),
        "booted": format_time(psutil.boot_time()),
        "engines": [_engine(path) for path in engines_directory(workplace.settings).glob(f"*/*/{RECORD}")],
        "packages": sorted(
            {f"{package.metadata['Name']} {package.version}" for package in distributions()}, key=str.lower
        ),
    }


def _engine(record: Path) -> Mapping[str, Any]:
    environment = read_environment(record.parent)
    if environment is None:
        return {"directory": record.parent.name, "state": "its record cannot be read"}
    return {
        "engine": environment.record.engine,
        "variant": environment.record.variant,
        "python": environment.record.python,
        "usable": environment.usable,
        "forced": environment.record.forced,
        "installed_at": format_time(environment.record.installed_at),
        "packages": list(environment.record.packages),
    }


def _kind_of_machine() -> str:
    signs = {
        "WSL2": "microsoft" in platform.release().lower(),
        "Docker container": Path("/.dockerenv").exists(),
        "Podman container": Path("/run/.containerenv").exists(),
        "container": "container" in os.environ,
        "Kubernetes": "KUBERNETES_SERVICE_HOST" in os.environ,
        "systemd": Path("/run/systemd/system").is_dir(),
    }
    return ", ".join(name for name, present in signs.items() if present) or "no systemd, no container"


def _distribution() -> str:
    with suppress(OSError):
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    return "unknown"


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except OSError as error:
        return f"none ({error.strerror})"


def machine(workplace: Workplace) -> Mapping[str, Any]:
    """Return the memory, the disks, the processor, the limits, and what decides about the sandbox."""
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return {
        "processor": hardware.cpu_name(),
        "cores": {"usable": hardware.cpu_cores(), "physical": hardware.physical_cores()},
        "load": os.getloadavg(),
        "memory": {
            "total": memory.total,
            "available": memory.available,
            "usable by this process": hardware.memory_total(),
            "swap total": swap.total,
            "swap used": swap.used,
        },
        "disks": {use: _disk(path) for use, path in _directories(workplace).items()},
        "user": {"uid": os.getuid(), "groups": os.getgroups(), "umask": _umask()},
        "open files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "device files": sorted(
            str(path) for pattern in ("nvidia*", "dri/*", "dxg", "kfd") for path in Path("/dev").glob(pattern)
        ),
        "modules of the kernel": sorted(
            line.partition(" ")[0]
            for line in _text(Path("/proc/modules")).splitlines()
            if line.startswith(("nvidia", "nouveau", "amdgpu", "i915", "xe "))
        ),
        "programs": {
            name: shutil.which(name)
            for name in ("bwrap", "ffmpeg", "blender", "nvidia-smi", "setpriv", "systemctl")
        },
        "variables": {
            name: value if name.startswith(_SHOWN_VARIABLES) else "(set)"
            for name, value in sorted(os.environ.items())
            if name.startswith((*_SHOWN_VARIABLES, "AITBC_", "OTEL_", "HF_", "UV_", "PIP_"))
        },
        **{name: _text(Path(path)) for name, path in _FACTS.items()},
    }


def _directories(workplace: Workplace) -> Mapping[str, Path]:
    settings = workplace.settings
    return {
        "data": workplace.data_dir,
        "models": settings.models_dir,
        "cache": settings.cache_dir,
        "temporary files": Path(os.environ.get("TMPDIR", "/tmp")),  # noqa: S108 - it is asked how full it is
        "shared memory": Path("/dev/shm"),  # noqa: S108
        "current directory": Path.cwd(),
    }


def _disk(path: Path) -> Mapping[str, Any]:
    existing = path
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    values = os.statvfs(existing)
    mounted = [part for part in psutil.disk_partitions(all=True) if existing.is_relative_to(part.mountpoint)]
    mount = max(mounted, key=lambda part: len(part.mountpoint), default=None)
    return {
        "path": str(path),
        "exists": path.exists(),
        "size": values.f_blocks * values.f_frsize,
        "free": values.f_bavail * values.f_frsize,
        "free files": values.f_favail,
        "file system": mount and mount.fstype,
        "options": mount and mount.opts,
        "writable": os.access(existing, os.W_OK),
    }


def _umask() -> str:
    line = next(
        (line for line in _text(Path("/proc/self/status")).splitlines() if line.startswith("Umask")), ""
    )
    return line.rpartition("\t")[2]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        return f"not readable ({error.strerror})"


def processes(workplace: Workplace) -> list[Any]:
    """Return the agent's processes with their limits and resources: of this data directory, or of others on the machine."""
    described = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid == os.getpid():
                continue
            words = process.cmdline()
            # Not those of other programs, such as a shell with a script: their command lines are nobody's business.
            if any(
                Path(word).name in _PROGRAMS or word.startswith(str(workplace.data_dir)) for word in words
            ):
                described.append(_process(process, shlex.join(words)))
    return described


def _process(process: psutil.Process, command: str) -> Mapping[str, Any]:
    values: dict[str, Any] = {"pid": process.pid, "command": command}
    readings: dict[str, Callable[[], Any]] = {
        "parent": process.ppid,
        "state": process.status,
        "started": lambda: format_time(process.create_time()),
        "user": process.username,
        "memory": lambda: process.memory_info().rss,
        "processor seconds": lambda: round(sum(process.cpu_times()[:2]), 1),
        "threads": process.num_threads,
        "open files": process.num_fds,
        "limits": lambda: _limits(process.pid),
        "cgroup": lambda: _text(Path(f"/proc/{process.pid}/cgroup")),
        "killed first when memory is short": lambda: _text(Path(f"/proc/{process.pid}/oom_score")),
        "waits in the kernel": lambda: _text(Path(f"/proc/{process.pid}/wchan")),
    }
    for name, read in readings.items():
        with suppress(psutil.Error, OSError):
            values[name] = read()
    return values


def _limits(pid: int) -> Mapping[str, str]:
    """Return the limits of a process that are not unlimited."""
    lines = _text(Path(f"/proc/{pid}/limits")).splitlines()[1:]
    words = {line[4:26].strip(): line[26:].split()[0] for line in lines}
    return {name: value for name, value in words.items() if value != "unlimited"}


def files(workplace: Workplace) -> str:
    """Return the files of the data directory with their owners, modes and sizes. Of clients' files, only how many there are."""
    lines = [f"{workplace.data_dir}\n"]
    for number, line in enumerate(_listed(workplace.data_dir, "")):
        if number >= MAX_FILES:
            lines.append("... (there are more)")
            break
        lines.append(line)
    return "\n".join(lines)


def _listed(directory: Path, indent: str) -> Iterator[str]:
    for path in sorted(directory.iterdir()):
        with suppress(OSError):
            status = path.lstat()
            moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(status.st_mtime))
            size = f"{status.st_size:>12}" if stat.S_ISREG(status.st_mode) else f"{'':>12}"
            line = f"{stat.filemode(status.st_mode)} {status.st_uid:>5}:{status.st_gid:<5} {size} {moment} {indent}{path.name}"
            if not stat.S_ISDIR(status.st_mode):
                yield line
            elif path.name in _CLIENTS_FILES:
                yield f"{line}/ {_counted(path)}"
            else:
                yield f"{line}/"
                yield from _listed(path, f"{indent}  ")


def _counted(directory: Path) -> str:
    counts = Counter[str]()
    for below, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                counts.update(files=1, bytes=os.lstat(Path(below) / name).st_size)
    return f"({counts['files']} files, {counts['bytes']} bytes)"
