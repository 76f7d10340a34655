"""Checks of directories and files: whether they are usable, and whether other users can read secrets."""

from __future__ import annotations

import fcntl
import getpass
import stat
import tempfile
from pathlib import Path
from typing import Final

from agent.core.values.quantities import gibibytes
from agent.diagnostics import Diagnostic, ok
from agent.miner.doctor.diagnostics import found
from agent.miner.machine import hardware
from agent.miner.sealing.directory import file_system
from agent.miner.settings import RunnersSettings
from agent.sections import section_of
from agent.settings import Settings

_MIN_DISK: Final = 2**30
_GOOD_DISK: Final = 10 * 2**30

_TEMPORARY: Final = frozenset({"tmpfs", "ramfs", "overlay"})
"""File systems that are lost with the machine's power, or with the container."""

_NETWORK: Final = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"}
)  # fmt: skip
"""File systems without the locks and shared memory that SQLite's write-ahead log needs."""


def data_directory(settings: Settings) -> list[Diagnostic]:
    """Check that the data directory is private, writable and durable."""
    directory = settings.data_dir
    existing = hardware.nearest(directory)
    cause = _unwritable(existing)
    if cause is not None:
        return [found("data_directory_unwritable", directory=existing, cause=cause, user=getpass.getuser())]
    diagnostics = []
    mode = stat.S_IMODE(existing.stat().st_mode)
    if existing == directory and mode & 0o077:
        diagnostics.append(found("data_directory_open", directory=directory, mode=f"{mode:04o}"))
    kind = file_system(existing)
    if kind in _NETWORK:
        diagnostics.append(found("data_directory_on_network", directory=directory, file_system=kind))
    elif kind in _TEMPORARY:
        diagnostics.append(found("data_directory_temporary", directory=directory, file_system=kind))
    if diagnostics:
        return diagnostics
    state = "can be written" if existing == directory else "does not exist yet; the first start creates it"
    return [ok("data_directory", f"{directory} {state}.")]


def secrets(settings: Settings) -> list[Diagnostic]:
    """Check that no other users of the machine may read keys."""
    directory = settings.data_dir
    files = [*directory.glob("*.key"), *directory.glob("*/*.key")]
    files += [*directory.glob("*/api_key.json"), *directory.glob("*/keys.json")]
    files += [settings.agent_file] if settings.agent_file.exists() else []
    readable = [path for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if readable:
        return [found("secrets_readable", files=" ".join(str(path) for path in readable))]
    if not files:
        return [ok("secrets", "There are no keys yet; the first start creates them.")]
    return [ok("secrets", f"Only their owner can read the {len(files)} files that contain keys.")]


def disk(settings: Settings) -> list[Diagnostic]:
    """Check that there is free disk space for data and for models."""
    diagnostics = []
    for use, setting, directory in (
        ("data", "data_dir", settings.data_dir),
        ("models", "models_dir", settings.models_dir),
    ):
        free = hardware.disk_free(directory)
        if free >= _GOOD_DISK:
            diagnostics.append(ok(f"disk_{use}", f"{gibibytes(free)} are free for {use} in {directory}."))
            continue
        kind = "disk_full" if free < _MIN_DISK else "disk_low"
        words = {"free": gibibytes(free), "use": use, "directory": directory, "setting": setting}
        diagnostics.append(found(kind, recommended=gibibytes(_GOOD_DISK), **words))
    return diagnostics


def models_directory(settings: Settings) -> list[Diagnostic]:
    """Check that models can be fetched into the models directory."""
    existing = hardware.nearest(settings.models_dir)
    cause = _unwritable(existing) if section_of(settings, RunnersSettings).model_download else None
    if cause is not None:
        return [found("models_unwritable", directory=existing, cause=cause, user=getpass.getuser())]
    return []


def holder(settings: Settings) -> int | None:
    """Return the process that has locked the data directory, 0 if it is unknown; None if it is not locked."""
    try:
        with (settings.data_dir / "agent.lock").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
    except BlockingIOError:
        return _locking_process(settings.data_dir / "agent.lock")
    except OSError:
        return None


def _locking_process(path: Path) -> int:
    """Read it from the kernel's list (proc_locks(5)). Returns 0 for a process of another container."""
    inode = path.stat().st_ino
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        words = line.split()
        if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
            return max(0, int(words[4]))
    return 0


def _unwritable(directory: Path) -> str | None:
    try:
        with tempfile.TemporaryFile(dir=directory):
            return None
    except OSError as error:
        return str(error.strerror)
