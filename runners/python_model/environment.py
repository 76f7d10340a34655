"""Packages for clients' models: installed once for each set of requirements, kept, and shared by later jobs.

This is the only step of such a job that reaches the network, and it runs in a sandbox that has the network and nothing else
of the owner's. uv installs wheels of the index only: it builds nothing, runs nothing of the packages, and refuses one that
depends on an address. An environment is a directory that holds the packages and a file that says it is complete.
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

from runners.api import Context, Fail, FailureCode, Retry, Tools
from runners.python_model.index import index
from runners.sandbox import Sandbox, files, python_prefix
from runners.sandbox.watch import Ended, Limits, Outcome

INSTALL_SECONDS = 900.0
"""Seconds that installing may take; large engines are gigabytes."""

INSTALL_MEMORY = 4 * 2**30
INSTALL_FILES = 400_000
INSTALL_THREADS = 4

SMALLEST = 64 * 2**20
"""Bytes that there must be for a new environment before one is begun."""

CACHE_SHARE = 4
"""The packages kept for further environments go when they take more than the quota divided by this."""

LOCK_POLL = 0.1

Report = Callable[[float], None]
"""Takes the progress of the run in percent."""

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


def unavailable() -> str | None:
    """Why no environments can be made on this machine, None if they can."""
    if importlib.util.find_spec("uv") is None:
        return "uv is missing, which installs the packages of Python models; install it (pip install uv)."
    return None


@contextmanager
def environment(
    tools: Tools, requirements: Sequence[str], context: Context, report: Report
) -> Iterator[Path]:
    """The directory of an environment that satisfies the requirements, held while the block runs.

    Raises `Fail` (REQUIREMENTS_FAILED) if they cannot be installed, `Retry` if the
    index cannot be reached.
    """
    wanted = sorted(set(requirements), key=str.lower)
    store = tools.cache_dir / "python-environments"
    store.mkdir(parents=True, exist_ok=True)
    directory = store.resolve() / _digest(wanted)
    while True:
        with _locked(directory, fcntl.LOCK_SH, context, report):
            if (directory / _COMPLETE).is_file():
                os.utime(directory / _COMPLETE)
                yield directory
                return
        # One at a time: they share the packages, and each may use the room that the others leave.
        with (
            _locked(store / "install", fcntl.LOCK_EX, context, report),
            _locked(directory, fcntl.LOCK_EX, context, report),
        ):
            if not (directory / _COMPLETE).is_file():
                _make(tools, directory, wanted, context, report)


def _digest(requirements: Sequence[str]) -> str:
    identity = json.dumps([list(requirements), sys.version, platform.machine()])
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _make(
    tools: Tools, directory: Path, requirements: Sequence[str], context: Context, report: Report
) -> None:
    files.remove(directory)
    room = _make_room(tools, directory.parent)
    directory.mkdir()
    try:
        _install(_Installer(tools, directory, room, context, report), requirements)
        size = files.measure([directory], size=room, files=INSTALL_FILES)
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
            f"Installing the requirements went over a limit ({outcome.reason or outcome.ended}).",
            code=FailureCode.REQUIREMENTS_FAILED,
        )
    if outcome.exit_code != 0:
        raise _refusal(outcome.stderr)


def _refusal(stderr: str) -> Fail | Retry:
    if any(sign in stderr for sign in _NETWORK_SIGNS):
        return Retry(
            "The requirements could not be fetched: the package index was not reached or the disk is full.",
            code=FailureCode.REQUIREMENTS_UNAVAILABLE,
        )
    reason = " ".join(stderr.split()) or "uv failed"
    return Fail(
        f"The requirements could not be installed (from wheels of the index only): {reason[:800]}",
        code=FailureCode.REQUIREMENTS_FAILED,
    )


def _needed_by_python() -> tuple[Path, ...]:
    """What this program's Python needs in a sandbox beside /usr: uv asks it for its version and its tags."""
    prefix = python_prefix()
    return () if prefix.is_relative_to("/usr") else (prefix,)


@dataclass(frozen=True, slots=True)
class _Installer:
    """Runs uv on one environment, which may take `room` bytes, with the packages that earlier runs fetched."""

    tools: Tools
    directory: Path
    room: int
    context: Context
    report: Report

    def run(self, *command: str) -> Outcome:
        from uv import find_uv_bin  # noqa: PLC0415 - the coordinator needs none of it

        seconds = min(INSTALL_SECONDS, self.context.timeout_seconds)
        cache = self.directory.parent / _CACHE
        cache.mkdir(exist_ok=True)
        limits = Limits(
            memory=INSTALL_MEMORY,
            output=self.room + _size(cache),
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
        kept = sandbox.write(cache, str(cache))
        options = ["--no-config", "--no-python-downloads", "--quiet", "--color", "never", "--cache-dir", kept]
        began = time.monotonic()
        return sandbox.run(
            [program, *options, *command],
            directory=written,
            on_tick=lambda _: self.report(min(4.0, (time.monotonic() - began) / seconds * 4)),
            on_cancel=self.context.on_cancel,
        )


def _make_room(tools: Tools, store: Path) -> int:
    """Return how many bytes the next environment may take, after removing those that were used least recently.

    They and the packages stay within the quota. Raises `Retry` if all that there are, are in use.
    """
    quota, cache = tools.environments_quota, store / _CACHE
    if _size(cache) > quota // CACHE_SHARE:
        files.remove(cache)
    found = [path for path in store.iterdir() if path.is_dir() and path != cache]
    sizes = {path: _recorded_size(path) for path in sorted(found, key=_last_used)}
    free = quota - _size(cache) - sum(sizes.values())
    for directory, size in sizes.items():
        if free < tools.max_environment or not (directory / _COMPLETE).is_file():
            free += size if _evict(directory) else 0
    if free < min(SMALLEST, tools.max_environment):
        raise Retry(
            "There is no room for another environment; raise runners.environments_quota.",
            code=FailureCode.REQUIREMENTS_UNAVAILABLE,
        )
    return min(free, tools.max_environment)


def _evict(directory: Path) -> bool:
    """Remove an environment unless a job uses it now."""
    with _lock_file(directory).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        with suppress(FileNotFoundError):  # first, so that what is half removed is never used
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


def _last_used(directory: Path) -> float:
    try:
        return (directory / _COMPLETE).stat().st_mtime
    except OSError:
        return 0.0


@contextmanager
def _locked(path: Path, kind: int, context: Context, report: Report) -> Iterator[None]:
    """Hold a lock shared with other child processes; waits for it as long as the job has time."""
    deadline = time.monotonic() + context.timeout_seconds
    with _lock_file(path).open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                context.check()
                report(0.0)
                if time.monotonic() > deadline:
                    raise Retry("Other jobs install their requirements for too long.") from None
                time.sleep(LOCK_POLL)
        yield


def _lock_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")
