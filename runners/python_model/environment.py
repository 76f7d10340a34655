"""Packages for clients' models: installed once for each set of requirements, cached, and shared by later jobs.

This is the only step of such a job with network access. It runs in a sandbox without access to the owner's
files. uv installs only wheels of the index: it builds no package, runs no code of packages, and refuses packages that
depend on an address. An environment is a directory with the packages and a file that marks it as complete.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from runners.api import Context, Fail, FailureCode, Retry, Tools
from runners.python_model.index import index
from runners.sandbox import Sandbox, files, python_prefix
from runners.sandbox.watch import Ended, Limits, Outcome

INSTALL_SECONDS = 900.0
"""Time limit for installing, in seconds; large engines are gigabytes."""

INSTALL_MEMORY = 4 * 2**30
INSTALL_FILES = 400_000
INSTALL_THREADS = 4

SMALLEST = 64 * 2**20
"""Bytes that must be free before a new environment is begun."""

CACHE_SHARE = 4
"""The package cache is cleared when it exceeds the quota divided by this number."""

LOCK_POLL = 0.1

Report = Callable[[float], None]
"""Called with the progress of the run in percent."""

DIRECTORY = "python-environments"
"""The directory of all environments, in the directory of caches."""

PACKAGES = "packages"
"""The directory of the packages, in an environment."""

_COMPLETE = "complete"
_CACHE = "fetched"
_NETWORK_SIGNS = (
    "Failed to fetch",
    "error sending request",
    "client error (Connect)",
    "operation timed out",
    "No space left on device",
)


def installer_unavailable() -> str | None:
    """Return why no environments can be made on this machine, None if they can."""
    if importlib.util.find_spec("uv") is None:
        return f"uv, which installs the packages of Python models, is missing; install it: {sys.executable} -m pip install uv."
    return None


@contextmanager
def environment(
    tools: Tools, requirements: Sequence[str], context: Context, report: Report
) -> Iterator[Path]:
    """Provide the directory of an environment with these requirements, locked while the block runs.

    Raises `Fail` (REQUIREMENTS_FAILED) if they cannot be installed, `Retry` if the
    index cannot be reached.
    """
    names = sorted(set(requirements), key=str.lower)
    store = tools.cache_dir / DIRECTORY
    store.mkdir(parents=True, exist_ok=True)
    directory = store.resolve() / _digest(names)
    while True:
        with _locked(directory, fcntl.LOCK_SH, context, report):
            if (directory / _COMPLETE).is_file():
                os.utime(directory / _COMPLETE)
                yield directory
                return
        # One at a time: they share the package cache, and each may use the remaining space.
        with (
            _locked(store / "install", fcntl.LOCK_EX, context, report),
            _locked(directory, fcntl.LOCK_EX, context, report),
        ):
            if not (directory / _COMPLETE).is_file():
                _make(tools, directory, names, context, report)


def _digest(requirements: Sequence[str]) -> str:
    identity = json.dumps([list(requirements), sys.version, platform.machine()])
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _make(
    tools: Tools, directory: Path, requirements: Sequence[str], context: Context, report: Report
) -> None:
    files.remove(directory)
    space = _free_space(tools, directory.parent)
    directory.mkdir()
    try:
        _install(_Installer(tools, directory, space, context, report), requirements)
        size = files.measure([directory], size=space, files=INSTALL_FILES)
        (directory / _COMPLETE).write_text(str(size), encoding="ascii")
    except files.TreeExceeded as error:
        raise Fail(f"The requirements take {error}.", code=FailureCode.REQUIREMENTS_FAILED) from None
    finally:
        if not (directory / _COMPLETE).is_file():
            files.remove(directory)


def _install(installer: _Installer, requirements: Sequence[str]) -> None:
    target = installer.directory / PACKAGES
    target.mkdir()
    if not requirements:
        return
    python = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    options = ("--no-build", "--python", str(python), "--target", str(target))
    outcome = installer.run("pip", "install", *options, "--", *requirements)
    if outcome.ended is not Ended.EXITED:
        raise Fail(
            f"Installing the requirements exceeded a limit ({outcome.reason or outcome.ended}).",
            code=FailureCode.REQUIREMENTS_FAILED,
        )
    if outcome.exit_code != 0:
        raise _refusal(outcome.stderr)


def _refusal(stderr: str) -> Fail | Retry:
    if any(sign in stderr for sign in _NETWORK_SIGNS):
        return Retry(
            "The requirements could not be fetched: the package index could not be reached, or the disk is full.",
            code=FailureCode.REQUIREMENTS_UNAVAILABLE,
        )
    reason = " ".join(stderr.split()) or "uv failed"
    return Fail(
        f"The requirements could not be installed (from wheels of the index only): {reason[:800]}",
        code=FailureCode.REQUIREMENTS_FAILED,
    )


def _needed_by_python() -> tuple[Path, ...]:
    """Return the directories outside /usr that this Python needs in a sandbox: uv runs it to read its version and tags."""
    prefix = python_prefix()
    return () if prefix.is_relative_to("/usr") else (prefix,)


@dataclass(frozen=True, slots=True)
class _Installer:
    """Runs uv on one environment, which may take `space` bytes, with the packages that earlier runs fetched."""

    tools: Tools
    directory: Path
    space: int
    context: Context
    report: Report

    def run(self, *command: str) -> Outcome:
        from uv import find_uv_bin  # noqa: PLC0415 - the coordinator needs none of it

        seconds = min(INSTALL_SECONDS, self.context.timeout_seconds)
        cache = self.directory.parent / _CACHE
        cache.mkdir(exist_ok=True)
        limits = Limits(
            memory=INSTALL_MEMORY,
            output=self.space + _size(cache),
            seconds=seconds,
            cpu_seconds=seconds * INSTALL_THREADS,
            files=4 * INSTALL_FILES,
        )
        chosen = index()
        environment = {**chosen.environment, "UV_CONCURRENT_INSTALLS": str(INSTALL_THREADS)}
        sandbox = Sandbox(self.tools, limits, environment=environment, network=True)
        for path in (*chosen.files, *_needed_by_python()):
            sandbox.read(path, str(path))
        program = sandbox.program(find_uv_bin())
        written = sandbox.write(self.directory, str(self.directory))
        cached = sandbox.write(cache, str(cache))
        options = [
            "--no-config",
            "--no-python-downloads",
            "--quiet",
            "--color",
            "never",
            "--cache-dir",
            cached,
        ]
        began = time.monotonic()
        return sandbox.run(
            [program, *options, *command],
            directory=written,
            on_tick=lambda _: self.report(min(4.0, (time.monotonic() - began) / seconds * 4)),
            on_cancel=self.context.on_cancel,
        )


def _free_space(tools: Tools, store: Path) -> int:
    """Remove the least recently used environments; return the bytes that the next one may take.

    Environments and the package cache stay within the quota. Raises `Retry` if all environments are in use.
    """
    quota, cache = tools.environments_quota, store / _CACHE
    if _size(cache) > quota // CACHE_SHARE:
        files.remove(cache)
    sizes = {path: _recorded_size(path) for path in sorted(stored(store), key=last_used)}
    free = quota - _size(cache) - sum(sizes.values())
    for directory, size in sizes.items():
        # One without the mark was left half made by a process that was killed.
        if free < tools.max_environment or not (directory / _COMPLETE).is_file():
            free += size if evict(directory) else 0
    if free < min(SMALLEST, tools.max_environment):
        raise Retry(
            "There is no space for another environment; raise runners.environments_quota.",
            code=FailureCode.REQUIREMENTS_UNAVAILABLE,
        )
    return min(free, tools.max_environment)


def stored(store: Path) -> list[Path]:
    """Return the environments on disk, complete or not."""
    try:
        return [path for path in store.iterdir() if path.is_dir() and path.name != _CACHE]
    except OSError:  # no job has needed one yet
        return []


def clear_packages(store: Path) -> bool:
    """Remove the cache of packages unless an environment is being made. Return whether it was there and is removed."""
    cache = store / _CACHE
    if not cache.is_dir():
        return False
    with _lock_file(store / "install").open("w") as lock:
        if not _try_lock(lock, fcntl.LOCK_EX):
            return False
        files.remove(cache)
        return True


def evict(directory: Path) -> bool:
    """Remove an environment unless a job is using it."""
    with _lock_file(directory).open("w") as lock:
        if not _try_lock(lock, fcntl.LOCK_EX):
            return False
        with suppress(FileNotFoundError):  # first, so that a partly removed environment is never used
            (directory / _COMPLETE).unlink()
        files.remove(directory)
        return True


def _size(directory: Path) -> int:
    return files.measure([directory], size=sys.maxsize, files=sys.maxsize) if directory.exists() else 0


def _recorded_size(directory: Path) -> int:
    try:
        return int((directory / _COMPLETE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return _size(directory)


def last_used(directory: Path) -> float:
    """Return when an environment was last used, in seconds since the epoch; 0 for one that was never complete."""
    try:
        return (directory / _COMPLETE).stat().st_mtime
    except OSError:
        return 0.0


@contextmanager
def _locked(path: Path, kind: int, context: Context, report: Report) -> Iterator[None]:
    """Hold a lock shared with other child processes; wait for it until the job's deadline."""
    deadline = time.monotonic() + context.timeout_seconds
    with _lock_file(path).open("w") as lock:
        while not _try_lock(lock, kind):
            context.check()
            report(0.0)
            if time.monotonic() > deadline:
                raise Retry(
                    "Other jobs are taking too long to install their requirements.",
                    code=FailureCode.REQUIREMENTS_UNAVAILABLE,
                )
            time.sleep(LOCK_POLL)
        yield


def _try_lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")
