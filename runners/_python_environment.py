"""Virtual environments for clients' models: made once for each set of requirements, kept, and shared by later jobs.

This is the only step of such a job that reaches the network. It runs outside the sandbox, so nothing of the client's may
run in it: packages come as wheels only, and the environment's own Python is never started outside the sandbox after
something was installed, because a package can leave code that runs at start.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from runners._base import Context, Fail, Retry, Tools
from runners.sandbox import Sandbox
from runners.sandbox.watch import Ended, Limits, Outcome

INSTALL_SECONDS = 900.0
"""Seconds that installing may take; large engines are gigabytes."""

INSTALL_MEMORY = 4 * 2**30
INSTALL_SIZE = 12 * 2**30
INSTALL_FILES = 400_000

KEPT = 20
"""Environments kept on disk; the least recently used goes first."""

LOCK_POLL = 0.1

_COMPLETE = "complete"
_NETWORK_SIGNS = (
    "NewConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "NameResolutionError",
    "connection broken",
    "No space left on device",
)


@contextmanager
def environment(tools: Tools, requirements: Sequence[str], context: Context) -> Iterator[Path]:
    """The directory of an environment that satisfies the requirements, held while the block runs.

    Raises `Fail` (REQUIREMENTS_FAILED) if they cannot be installed, `Retry` if the index cannot be reached.
    """
    wanted = sorted(set(requirements), key=str.lower)
    store = tools.cache_dir / "python-environments"
    store.mkdir(parents=True, exist_ok=True)
    directory = store.resolve() / _digest(wanted)
    while True:
        with _locked(directory, fcntl.LOCK_SH, context):
            if (directory / _COMPLETE).is_file():
                os.utime(directory / _COMPLETE)
                yield directory
                return
        with _locked(directory, fcntl.LOCK_EX, context):
            if not (directory / _COMPLETE).is_file():
                _evict(store, spare=directory)
                _make(tools, directory, wanted, context)


def _digest(requirements: Sequence[str]) -> str:
    identity = json.dumps([list(requirements), sys.version, platform.machine()])
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _make(tools: Tools, directory: Path, requirements: Sequence[str], context: Context) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    python = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    pip = [] if requirements else ["--without-pip"]
    made = _run(tools, [str(python), "-m", "venv", *pip, str(directory)], directory, context)
    if made.exit_code != 0:
        raise Retry(f"No virtual environment could be made: {made.stderr[-300:]}", code="MACHINE_FAULT")
    if requirements:
        _install(tools, directory, requirements, context)
    (directory / _COMPLETE).touch()


def _install(tools: Tools, directory: Path, requirements: Sequence[str], context: Context) -> None:
    wanted = directory / "requirements.txt"
    wanted.write_text("".join(f"{requirement}\n" for requirement in requirements), encoding="utf-8")
    command = [str(directory / "bin" / "python"), "-m", "pip", "install", "--only-binary", ":all:"]
    quiet = ["--no-input", "--disable-pip-version-check", "--quiet"]
    cache = ["--cache-dir", str(tools.cache_dir.resolve() / "pip")]
    outcome = _run(tools, [*command, *quiet, *cache, "--requirement", str(wanted)], directory, context)
    if outcome.exit_code == 0:
        return
    shutil.rmtree(directory, ignore_errors=True)
    if outcome.ended is Ended.EXITED and any(sign in outcome.stderr for sign in _NETWORK_SIGNS):
        raise Retry(
            "The requirements could not be fetched: the package index was not reached or the disk is full.",
            code="REQUIREMENTS_UNAVAILABLE",
        )
    if outcome.ended is not Ended.EXITED:
        raise Fail(
            f"Installing the requirements went over a limit ({outcome.ended}).", code="REQUIREMENTS_FAILED"
        )
    complaints = [line for line in outcome.stderr.splitlines() if line.startswith("ERROR:")] or ["pip failed"]
    raise Fail(
        f"The requirements could not be installed (from wheels only): {' '.join(complaints)[:800]}",
        code="REQUIREMENTS_FAILED",
    )


def _run(tools: Tools, command: Sequence[str], directory: Path, context: Context) -> Outcome:
    seconds = min(INSTALL_SECONDS, context.timeout_seconds)
    limits = Limits(
        memory=INSTALL_MEMORY, output=INSTALL_SIZE, seconds=seconds, cpu_seconds=seconds, files=INSTALL_FILES
    )
    # The owner's environment, for proxies and the settings of pip.
    unconfined = Sandbox(dataclasses.replace(tools, sandbox="off"), limits, environment=dict(os.environ))
    written = unconfined.write(directory, str(directory))
    began = time.monotonic()
    return unconfined.run(
        command,
        directory=written,
        on_tick=lambda _: context.progress(min(4.0, (time.monotonic() - began) / seconds * 4)),
        on_cancel=context.on_cancel,
    )


def _evict(store: Path, *, spare: Path) -> None:
    """Remove the environments that were used least recently, as far as nobody uses them now, down to `KEPT` - 1."""
    found = [path for path in store.iterdir() if path.is_dir() and path.name != spare.name]
    found.sort(key=_last_used, reverse=True)
    for directory in found[KEPT - 1 :]:
        with _lock_file(directory).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(directory, ignore_errors=True)


def _last_used(directory: Path) -> float:
    try:
        return (directory / _COMPLETE).stat().st_mtime
    except OSError:
        return 0.0


@contextmanager
def _locked(directory: Path, kind: int, context: Context) -> Iterator[None]:
    """Hold a lock shared with other child processes; waits for it as long as the job has time."""
    deadline = time.monotonic() + context.timeout_seconds
    with _lock_file(directory).open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                context.check()
                if time.monotonic() > deadline:
                    raise Retry("Another job installs the same requirements for too long.") from None
                time.sleep(LOCK_POLL)
        yield


def _lock_file(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.lock")
