"""The directory for the plaintexts of sealed jobs, which must be in memory: nothing of them reaches a disk."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/self/mounts")
IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_OPEN: Final = 0o077


@dataclass(frozen=True, slots=True)
class MemoryDirectory:
    """Where plaintexts may be written. Without one, `path` is None and `reason` says why and what to do."""

    path: Path | None
    reason: str | None = None


def find(parent: Path, data_dir: Path) -> MemoryDirectory:
    """Return the directory of this agent below `parent`, without creating it.

    Agents on one machine have different ones, since each removes what is in its own when it starts.
    """
    if not parent.is_dir():
        return MemoryDirectory(None, f"{parent} does not exist. Set miner.sealing.directory to a tmpfs.")
    kind = file_system(parent)
    if kind not in IN_MEMORY:
        return MemoryDirectory(
            None,
            f"{parent} is on {kind or 'an unknown file system'}, not in memory. Mount a tmpfs there, or set miner.sealing.directory to one.",
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        return MemoryDirectory(
            None, f"{parent} cannot be written. Set miner.sealing.directory to another tmpfs."
        )
    name = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:16]
    return MemoryDirectory(parent / f"aitbc-sealed-{name}")


def create(directory: Path) -> None:
    """Create the directory for this user alone. Raises `OSError` if another user owns it."""
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if directory.is_symlink() or status.st_uid != os.geteuid():
        raise PermissionError(0, "it belongs to another user", str(directory))
    if status.st_mode & _OPEN:
        directory.chmod(0o700)


def file_system(path: Path) -> str | None:
    """Return the type of the file system that a path is on, such as "tmpfs"; None if that is unknown."""
    target, best, kind = path.resolve(), -1, None
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:  # noqa: PLR2004 - device, mount point, type
            continue
        # Spaces are escaped as in C, byte by byte; other characters are UTF-8.
        mount = Path(fields[1].encode().decode("unicode_escape").encode("latin-1").decode(errors="replace"))
        if target.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), fields[2]
    return kind


def swaps(source: Path = Path("/proc/swaps")) -> list[str]:
    """Return the active swap areas of this machine, to which the kernel may write memory; compressed memory does not count."""
    try:
        lines = source.read_text(encoding="utf-8", errors="replace").splitlines()[1:]
    except OSError:
        return []
    names = [line.split()[0] for line in lines if line.split()]
    return [name for name in names if not name.startswith("/dev/zram")]
