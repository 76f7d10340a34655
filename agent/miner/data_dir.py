"""The miner's directory (DATA_DIR/miner): locked by one daemon at a time, and cleaned up before work begins."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection
from pathlib import Path
from typing import IO

import structlog

from agent.core.errors import ConfigurationError
from runners.sandbox import files

_log = structlog.get_logger(__name__)


class DataDirectory:
    """The directory. `lock` holds until `unlock` or until the process ends."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.jobs = self.directory / "jobs"
        self._lock: IO[str] | None = None

    def lock(self) -> None:
        """Create and lock the directory. Raises `ConfigurationError` if another daemon has locked it."""
        try:
            self.jobs.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Deliberately left open: the lock lasts as long as the descriptor.
            lock = (self.directory / "lock").open("a+", encoding="ascii")
        except OSError as error:
            raise ConfigurationError(
                f"The directory {self.directory} cannot be used: {error.strerror}."
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip()
            lock.close()
            raise ConfigurationError(
                f"Another agent (process {holder or 'unknown'}) uses {self.directory.parent}. Stop it, or give this "
                "one its own directory with --data-dir."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def remove_leftovers(self, needed: Collection[Path]) -> None:
        """Remove the directories of jobs that an earlier process did not finish, as far as possible. Blocking."""
        for directory in self.jobs.iterdir():
            if directory not in needed and discard(directory):
                _log.info("leftover_removed", directory=directory.name)

    def unlock(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def discard(directory: Path) -> bool:
    """Remove the directory of a job, even if the job has changed its permissions. Blocking.

    Returns False and logs the error if that fails, which must stop neither the job nor the start of the daemon.
    """
    try:
        files.remove(directory)
    except OSError as error:
        _log.warning("directory_not_removed", directory=directory.name, error=error.strerror or str(error))
        return False
    return True
