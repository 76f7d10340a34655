"""Installs engines: creates an environment from a lock file, tries it, and only then puts it into use."""

from __future__ import annotations

import fcntl
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

from agent.child_environment import inherited
from agent.core.errors import AgentError
from agent.file_lock import try_lock
from agent.miner.engines import uv
from agent.miner.engines.cards import Card, card_for
from agent.miner.engines.catalogue import InstallableEngine, Variant, shown_size
from agent.miner.engines.cuda_start import remedy
from agent.miner.engines.environments import (
    IN_USE,
    EngineDirectory,
    EngineEnvironment,
    EngineRecord,
    delete_unused,
)
from agent.miner.engines.interpreters import check_command, of_environment, probe, variables
from agent.miner.models.locks import size_of
from runners import c_compiler, code_cache
from runners.api import Runner, Tools

CARD: Final = "AITBC_CARD"
"""The variable that gives a check the UUID of the card on which it has to compute."""

SPARE: Final = 64 * 2**20
"""Bytes that stay free on the disk in addition to an environment: package metadata, and one package being unpacked."""

_PLAN: Final = ".plan"
_CHECK_LOG: Final = "check.log"
_MESSAGE: Final = 700
_PACKAGES_LOCK: Final = ".packages.lock"

OnProgress: TypeAlias = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class Installed:
    """The outcome of an installation. `changed`: whether another environment is in use than before."""

    environment: EngineEnvironment
    changed: bool


@dataclass(eq=False)
class Installer:
    """Installs engines below `engines_dir`. `runners` are the installed runners by service id; their checks use `cache_dir`.

    Engines for cards must prove that they work on one of `cards`, if there are any. Methods block until they are done. `while_waiting` is called if another program changes the same engine.
    """

    engines_dir: Path
    runners: Mapping[str, type[Runner[Any]]]
    _: KW_ONLY
    cache_dir: Path
    check_seconds: float
    cards: Sequence[Card] = ()
    while_waiting: Callable[[], None] = lambda: None

    def install(
        self,
        engine: InstallableEngine,
        variant: Variant,
        on_progress: OnProgress,
        *,
        forced: bool = False,
    ) -> Installed:
        """Install an engine, or upgrade it to its lock file. An interrupted installation is continued.

        `forced`: whether the owner wants this variant although it does not suit the cards. Until the new environment has been tried, the former one stays in use. Raises `AgentError`.
        """
        directory = EngineDirectory(self.engines_dir, engine.name)
        digest = variant.digest()
        with directory.locked(self.while_waiting) as lock:
            former = directory.current
            changed = former is None or former.record.digest != digest or not former.usable
            environment = directory.complete(digest)
            if environment is None:
                environment = self._make(engine, variant, directory, lock, on_progress)
            if environment.record.forced != forced:
                environment = replace(environment, record=replace(environment.record, forced=forced))
                directory.complete_with(environment.record)
            # The link is replaced last, so a running agent never sees an environment that was not tried.
            directory.use(digest)
            if directory.sweep():
                clear_packages(self.engines_dir)
        return Installed(environment, changed)

    def roll_back(self, engine: InstallableEngine) -> EngineEnvironment:
        """Return to the environment before the last upgrade. Raises `AgentError`."""
        directory = EngineDirectory(self.engines_dir, engine.name)
        with directory.locked(self.while_waiting):
            return directory.roll_back()

    def remove(self, name: str) -> int:
        """Delete an engine's environments, interrupted ones too. Return the freed bytes.

        Environments that processes use are deleted by the next command that changes engines.
        """
        directory = EngineDirectory(self.engines_dir, name)
        with directory.locked(self.while_waiting):
            size_before = size_of(directory.path)
            directory.forget()
            if directory.sweep():
                clear_packages(self.engines_dir)
            return size_before - size_of(directory.path)

    def check(self, engine: InstallableEngine, environment: EngineEnvironment) -> None:
        """Try an installed engine. Raises `AgentError` if it does not work."""
        if not environment.usable:
            raise AgentError(
                f"Its interpreter is no longer on this machine. Install it again: aitbc-agent engines install {engine.name}"
            )
        self._check(engine, environment, None)

    def _make(
        self,
        engine: InstallableEngine,
        variant: Variant,
        directory: EngineDirectory,
        lock: IO[bytes],
        on_progress: OnProgress,
    ) -> EngineEnvironment:
        digest = variant.digest()
        path = directory.environment(digest)
        # Without its record it is the rest of an interrupted installation, which uv cannot continue.
        if path.exists() and not delete_unused(path):
            raise AgentError(f"{path} is damaged, but still in use. Stop the agent and try again.")
        # Before the download, since what is left of former environments may be the space that it needs.
        directory.sweep(digest)
        progress = _InstallProgress(self.engines_dir, path, variant.size, on_progress)
        self._require_space(engine, variant, progress)
        try:
            python = self._create(engine, variant, path, lock, progress)
            record = EngineRecord(
                engine.name, variant.name, digest, python, size_of(path), _packages(path), time.time()
            )
            environment = EngineEnvironment(path, record)
            # Before the record is written: an environment that does not work here must never count as complete.
            self._check(engine, environment, lock)
            directory.complete_with(record)
        except uv.DiskFull:
            delete_unused(path)
            clear_packages(self.engines_dir)
            raise AgentError(
                f"{engine.name} was not installed: the disk of {self.engines_dir} became full. What had arrived was deleted. "
                f"Free {shown_size(variant.size + SPARE)}, or set engines.directory to a directory on another disk."
            ) from None
        except uv.TooLarge as error:
            delete_unused(path)
            clear_packages(self.engines_dir)
            raise AgentError(
                f"{engine.name} was not installed: {error}. What had arrived was deleted. Check the package index that pip or uv is configured for."
            ) from None
        except (OSError, uv.InstallationFailed) as error:
            delete_unused(path)
            raise AgentError(f"{engine.name} was not installed: {error}.") from None
        except AgentError:
            delete_unused(path)
            raise
        progress.finish()
        return environment

    def _create(
        self,
        engine: InstallableEngine,
        variant: Variant,
        path: Path,
        lock: IO[bytes],
        progress: _InstallProgress,
    ) -> str:
        """Create the environment. Return its version of Python."""
        chosen = uv.environment(self.engines_dir, variant.index)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        if version in variant.python:
            # The agent itself runs in an environment, and one that is made from another one breaks when that is replaced.
            program = str(Path(getattr(sys, "_base_executable", sys.executable)))
        else:
            program = version = variant.python[0]
        with (self.engines_dir / _PACKAGES_LOCK).open("ab") as shared:
            # Shared, because uv allows several installations at a time; the one that clears the cache locks it alone.
            fcntl.flock(shared, fcntl.LOCK_SH)
            tool = uv.Uv(chosen, lock, progress.report)
            tool.run("venv", "--no-project", "--python", program, str(path))
            # Created with the environment, so that every process finds the file that it must lock.
            (path / IN_USE).touch()
            # Exactly the files of the lock: nothing is resolved again, and no package runs code of its own while it is installed.
            only_locked = ("--require-hashes", "--no-deps", "--no-build", "--no-sources")
            python = str(path / "bin" / "python")
            # Before gigabytes are downloaded that could not be used. Only now it is known which Python uv has chosen.
            lack = c_compiler.lack(python) if variant.compiles else None
            if lack is not None:
                raise AgentError(
                    f"{engine.name} was not installed: it compiles code when it runs, and this machine lacks {lack.what}. {lack.remedy}"
                )
            tool.run("pip", "install", "--python", python, *only_locked, "-r", str(variant.lock))
        return version

    def _check(
        self, engine: InstallableEngine, environment: EngineEnvironment, lock: IO[bytes] | None
    ) -> None:
        variant = engine.variants.get(environment.record.variant)
        card = card_for(engine.name, variant, self.cards)
        chosen = {} if card is None else {CARD: card.uuid, "CUDA_VISIBLE_DEVICES": card.uuid}
        try:
            check = subprocess.run(  # noqa: S603 - the program is the engine's own check
                check_command(environment),
                input=engine.check.encode(),
                env={
                    **code_cache.variables(self.cache_dir),
                    **inherited(),
                    **variables(environment, variant),
                    **chosen,
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=self.check_seconds,
                # The check inherits the lock: if this program is killed, the next installation still waits for it.
                pass_fds=() if lock is None else (lock.fileno(),),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise AgentError(
                f"{engine.name} does not work: its check did not end within {self.check_seconds:g} s. "
                "Try again when the machine is less busy, or raise engines.check_seconds."
            ) from None
        if check.returncode != 0:
            output = check.stdout.decode(errors="replace")
            reason, advice = _last_line(output), _advice(output, variant)
            if check.returncode == -signal.SIGILL:
                reason = "this processor lacks instructions that its packages are compiled for"
            saved = _saved(environment.path.with_name(_CHECK_LOG), check.stdout)
            raise AgentError(
                f"{engine.name} does not work on this machine: {reason} (exit status {check.returncode}{saved}).{advice}"
            )
        for service in engine.services:
            if service in self.runners:
                self._check_runner(engine, environment, variant, service)

    def _check_runner(
        self, engine: InstallableEngine, environment: EngineEnvironment, variant: Variant | None, service: str
    ) -> None:
        try:
            probe(of_environment(environment, variant, self.runners[service]), Tools())
        except AgentError as error:
            raise AgentError(f"{engine.name} does not work with this version of the agent: {error}") from None

    def _require_space(self, engine: InstallableEngine, variant: Variant, progress: _InstallProgress) -> None:
        self.engines_dir.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.engines_dir).free
        missing = variant.size + SPARE - progress.present()
        if free < missing:
            raise AgentError(
                f"{engine.name} takes {shown_size(variant.size)}, and {shown_size(free)} are free in {self.engines_dir}. Free some space, or "
                "set engines.directory to a directory on another disk."
            )


def clear_packages(engines_dir: Path) -> bool:
    """Delete the cache of packages, which shares its files with environments, unless an engine is being installed. Return whether it was there."""
    packages = engines_dir / uv.DIRECTORY_OF_PACKAGES
    with (engines_dir / _PACKAGES_LOCK).open("ab") as handle:
        if not packages.exists() or not try_lock(handle):
            return False
        shutil.rmtree(packages, ignore_errors=True)
        return True


class _InstallProgress:
    """Reports the bytes that have arrived of an environment: in the cache of packages, then in the environment itself.

    A file next to the environment records the size that the cache had before, also for the installation that continues this one.
    """

    def __init__(self, engines_dir: Path, path: Path, size: int, on_progress: OnProgress) -> None:
        self._packages = engines_dir / uv.DIRECTORY_OF_PACKAGES
        self._path = path
        self._size = size
        self._on_progress = on_progress
        self._plan = path.with_name(_PLAN)
        self._before = self._read()
        self._next = 0.0

    def present(self) -> int:
        """Return the bytes that have arrived."""
        arrived = max(0, size_of(self._packages) - self._before)
        return max(arrived, size_of(self._path))

    def report(self) -> None:
        """Report the progress, unless counting the bytes would take more than a tenth of the time.

        Raises `uv.TooLarge` if far more has arrived than the environment takes: an index may send an endless file, whose digest
        is known only at its end.
        """
        began = time.monotonic()
        if began < self._next:
            return
        present = self.present()
        if present > 2 * self._size + SPARE:
            raise uv.TooLarge(
                f"the package index sent {shown_size(present)} instead of {shown_size(self._size)}"
            )
        self._on_progress(min(present, self._size), self._size)
        self._next = began + 10 * (time.monotonic() - began)

    def finish(self) -> None:
        """Report that everything has arrived."""
        self._plan.unlink(missing_ok=True)
        self._on_progress(self._size, self._size)

    def _read(self) -> int:
        with suppress(OSError, ValueError):
            digest, _, former_digest = self._plan.read_text(encoding="ascii").partition(" ")
            if digest == self._path.name:
                return int(former_digest)
        size = size_of(self._packages)
        with suppress(OSError):
            self._plan.write_text(f"{self._path.name} {size}", encoding="ascii")
        return size


def _packages(environment: Path) -> tuple[str, ...]:
    """Return the installed packages with their versions."""
    names = (path.stem.rpartition("-") for path in environment.glob("lib/*/site-packages/*.dist-info"))
    return tuple(sorted(f"{name}=={version}" for name, _, version in names))


def _last_line(output: str) -> str:
    lines = output.strip().splitlines()
    return lines[-1].strip()[:_MESSAGE].rstrip(".") if lines else "its check printed nothing"


def _advice(output: str, variant: Variant | None) -> str:
    """Return what to do if a card or its driver made a check fail, after a space."""
    if (advice := remedy(output)) is None:
        return ""
    least = (
        "" if variant is None or variant.driver is None else f" It needs driver {variant.driver} or newer."
    )
    return f" {advice}{least}"


def _saved(log: Path, output: bytes) -> str:
    """Save the output of a failed check if the directory can be written. Return where it is, for the error."""
    try:
        log.write_bytes(output)
    except OSError:
        return ""
    return f"; the whole output is in {log}"
