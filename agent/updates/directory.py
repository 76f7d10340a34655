"""VERSIONS: the installed versions of one agent, which of them is current, and the state of its updates.

It contains:

* `update.json`, the state (`states.UpdateState`), and `report.json`, what a version on trial reports.
* `current`, a link to the version that the launcher starts; without it, that is the one that the owner installed.
* `0.3.1`, an environment. It is complete once it contains `version.json`.
* `lock`, which is locked while the state or a version is changed.
* `backups`, databases from before a migration, and `scratch`, data directories in which a version is tried.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Final

from agent import __version__
from agent.atomic_file import replace_file, sync_directory
from agent.core.errors import AgentError
from agent.fault_points import reach
from agent.file_lock import try_lock
from agent.updates.launcher import BASE_FILE, BASE_VERSION_FILE, CURRENT, PROGRAM
from agent.updates.states import TrialReport, UpdateState

RECORD: Final = "version.json"
LOCK_SECONDS: Final = 30.0
_STATE: Final = "update.json"
_REPORT: Final = "report.json"
_LOCK: Final = "lock"
_POLL_SECONDS: Final = 0.1
_VERSION: Final = re.compile(r"[0-9][0-9a-z.+]{0,60}")


class VersionsBusy(AgentError):
    """Another program changes the versions."""


class VersionsDirectory:
    """VERSIONS at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.backups = path / "backups"
        self.scratch = path / "scratch"

    def environment(self, version: str) -> Path:
        """Return the path of a version's environment, whether it exists or not. Raises `AgentError` for what is no version."""
        if _VERSION.fullmatch(version) is None:
            raise AgentError(f"{version!r} is not a version, such as 0.3.1.")
        return self.path / version

    def program(self, version: str) -> Path:
        """Return the command `aitbc-agent` of a version."""
        return base_program() if version == base_version() else self.environment(version) / PROGRAM

    def is_complete(self, version: str) -> bool:
        """Whether a version is installed, and for the environment and the version that the owner has installed."""
        path = self.environment(version)
        if version == base_version():
            return True
        base = base_environment()
        return (
            _text(path / BASE_FILE) == str(base)
            and _text(path / BASE_VERSION_FILE) == base_version()
            and (path / RECORD).is_file()
            # Its interpreter is a link to one that the system may have replaced.
            and (path / "bin/python").exists()
        )

    def mark_base(self, version: str) -> None:
        """Note in an environment for which installation it is made. Raises `OSError`."""
        path = self.environment(version)
        replace_file(path / BASE_FILE, f"{base_environment()}\n".encode())
        replace_file(path / BASE_VERSION_FILE, f"{base_version()}\n".encode())

    def complete(self, version: str, record: Mapping[str, Any]) -> None:
        """Mark a version as complete. Raises `OSError`."""
        replace_file(self.environment(version) / RECORD, json.dumps(record, indent=1).encode())

    # Current version --------------------------------------------------------------------------------------------------

    @property
    def current(self) -> str:
        """The version that the launcher starts."""
        with suppress(OSError):
            version = (self.path / CURRENT).readlink().name
            if _VERSION.fullmatch(version) and self.is_complete(version):
                return version
        return base_version()

    def make_current(self, version: str) -> None:
        """Make a version the current one. Raises `OSError`, and `AgentError` if it is not installed."""
        link, temporary = self.path / CURRENT, self.path / f"{CURRENT}.new"
        if version == base_version():
            link.unlink(missing_ok=True)
        elif not self.is_complete(version):
            raise AgentError(f"Version {version} is no longer installed in {self.path}.")
        else:
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(version)
            reach("update.link_written")
            temporary.replace(link)
        sync_directory(self.path)
        reach("update.link_replaced")

    def sweep(self, *needed: str) -> None:
        """Delete all versions and backups but these, the current one, and those to which the state refers."""
        state = self.read()
        versions = {*needed, self.current, state.version, state.former, state.previous}
        for path in self.path.iterdir():
            if _VERSION.fullmatch(path.name) and path.is_dir() and path.name not in versions:
                reach("update.sweeping")
                delete(path)
        for backup in self.backups.iterdir() if self.backups.is_dir() else ():
            if backup.name not in {state.backup, state.previous_backup}:
                delete(backup)

    # State ------------------------------------------------------------------------------------------------------------

    def read(self) -> UpdateState:
        """Return the state. One that cannot be read is that of no update: the current version does not depend on it."""
        try:
            return UpdateState.from_json(json.loads((self.path / _STATE).read_bytes()))
        except (OSError, ValueError, TypeError, KeyError):
            return UpdateState()

    def write(self, state: UpdateState) -> UpdateState:
        """Store the state, and return it. Raises `OSError`."""
        self.path.mkdir(parents=True, exist_ok=True)
        reach("update.state_writing", state.phase)
        replace_file(self.path / _STATE, json.dumps(state.to_json(), indent=1).encode())
        reach("update.state_written", state.phase)
        return state

    @contextmanager
    def locked(self, seconds: float = LOCK_SECONDS) -> Iterator[IO[bytes]]:
        """Lock out other programs that change anything here. Raises `VersionsBusy`, `AgentError`."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = (self.path / _LOCK).open("ab")
        except OSError as error:
            raise AgentError(
                f"The directory {self.path} cannot be written ({error.strerror}). Change its owner, or set updates.directory."
            ) from None
        with handle:
            end = time.monotonic() + seconds
            while not try_lock(handle):
                if time.monotonic() > end:
                    raise VersionsBusy("Another update is in progress. Try again when it has ended.")
                time.sleep(_POLL_SECONDS)
            yield handle

    # Report of a trial ------------------------------------------------------------------------------------------------

    def report(self, report: TrialReport) -> None:
        """Store what this process, a version on trial, reports. Raises `OSError`."""
        replace_file(self.path / _REPORT, json.dumps({"pid": os.getpid(), **asdict(report)}).encode())

    def read_report(self, process_id: int) -> TrialReport:
        """Return the report of a process; the empty one before it has reported."""
        try:
            values = json.loads((self.path / _REPORT).read_bytes())
            if values.pop("pid") == process_id:
                return TrialReport(**{name: values[name] for name in asdict(TrialReport()) if name in values})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            pass
        return TrialReport()

    def delete_report(self) -> None:
        """Delete the report of an earlier trial."""
        (self.path / _REPORT).unlink(missing_ok=True)


def base_environment() -> Path:
    """Return the environment that the owner installed, which is this one unless an update has created it."""
    return Path(_text(Path(sys.prefix) / BASE_FILE) or sys.prefix)


def base_version() -> str:
    """Return the version that the owner installed."""
    return _text(Path(sys.prefix) / BASE_VERSION_FILE) or __version__


def base_program() -> Path:
    """Return the command that the owner installed, which starts the current version."""
    return base_environment() / PROGRAM


def delete(path: Path) -> None:
    """Delete a directory as far as possible."""
    shutil.rmtree(path, ignore_errors=True)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
