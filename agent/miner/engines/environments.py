"""The environments of an engine on this machine: which is in use, which came before it, and which are left over.

Each engine has a directory with these entries:

* `DIGEST`, an environment. It is complete once it contains `engine.json`; before that, nothing uses it. It is created
  under its final name, because programs in it contain its path.
* `current` and `previous`, links to environments. Only what `current` names is used. A link is replaced in one step.
* `lock`, which is locked while the directory is changed, and inherited by the programs that do so.
* `DIGEST/in-use`, which every process that uses the environment locks, shared, until it ends.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

from agent.atomic_file import replace_file, sync_directory
from agent.core.errors import AgentError
from agent.file_lock import try_lock
from agent.miner.engines.catalogue import VariantName
from agent.miner.models.disk_use import directories
from agent.settings import Settings

RECORD: Final = "engine.json"
IN_USE: Final = "in-use"
_LOCK: Final = "lock"
_POLL_SECONDS: Final = 0.2
_MODULES: Final = "lib/python{}/site-packages"


def engines_directory(settings: Settings) -> Path:
    """Return the directory of all engines' environments."""
    return directories(settings)["engines"]


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """The description that a complete environment contains. `size` is in bytes, `python` a version ("3.11"), `installed_at` in epoch seconds.

    `forced`: whether the owner chose it although it does not suit this machine's cards.
    """

    engine: str
    variant: VariantName
    digest: str
    python: str
    size: int
    packages: tuple[str, ...]
    installed_at: float
    forced: bool = False


@dataclass(frozen=True, slots=True)
class EngineEnvironment:
    """A complete environment."""

    path: Path
    record: EngineRecord

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "bin" / "python"

    @property
    def usable(self) -> bool:
        """Whether its interpreter is still there: it is a link to one that the system may have replaced."""
        return self.python.exists()

    @property
    def modules(self) -> Path:
        """The directory of its packages."""
        return self.path / _MODULES.format(self.record.python)


class EngineDirectory:
    """The environments of one engine. All methods but `locked` return immediately."""

    def __init__(self, engines_dir: Path, name: str) -> None:
        self.name = name
        self.path = engines_dir / name

    @property
    def current(self) -> EngineEnvironment | None:
        """The environment in use, None if the engine is not installed."""
        return self._linked("current")

    @property
    def previous(self) -> EngineEnvironment | None:
        """The environment before the last upgrade."""
        return self._linked("previous")

    def environment(self, digest: str) -> Path:
        """Return the path of an environment, whether it exists or not."""
        return self.path / digest

    def complete(self, digest: str) -> EngineEnvironment | None:
        """Return the environment if it is complete and its interpreter exists."""
        environment = read_environment(self.path / digest)
        return environment if environment is not None and environment.usable else None

    @property
    def busy(self) -> bool:
        """Whether another program changes the directory at present."""
        with suppress(OSError), (self.path / _LOCK).open("rb") as handle:
            return not try_lock(handle)
        return False

    @property
    def has_leftovers(self) -> bool:
        """Whether an installation was interrupted here."""
        return any(read_environment(path) is None for path in self._environments())

    @contextmanager
    def locked(self, while_waiting: Callable[[], None]) -> Iterator[IO[bytes]]:
        """Lock out other programs that change this directory. `while_waiting` is called if one has to be waited for.

        Raises `AgentError` if the directory cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = (self.path / _LOCK).open("ab")
        except OSError as error:
            raise AgentError(
                f"The directory {self.path} cannot be written ({error.strerror}). Change its owner, or set engines.directory."
            ) from None
        with handle:
            # Tried again and again, since nobody would learn from a blocking lock why nothing happens.
            while not try_lock(handle):
                while_waiting()
                time.sleep(_POLL_SECONDS)
            yield handle

    def complete_with(self, record: EngineRecord) -> None:
        """Mark an environment as complete."""
        path = self.path / record.digest / RECORD
        # Earlier agents, to which an owner may return, refuse fields that they do not know.
        fields = {name: value for name, value in asdict(record).items() if name != "forced" or value}
        replace_file(path, json.dumps(fields, indent=2).encode())

    def use(self, digest: str) -> None:
        """Make a complete environment the current one, and the one that was current the previous one."""
        former = self.current
        if former is not None and former.record.digest != digest:
            # First the way back, then the step: a crash in between loses neither.
            self._link("previous", former.record.digest)
        self._link("current", digest)

    def roll_back(self) -> EngineEnvironment:
        """Exchange the current and the previous environment. Raises `AgentError` if there is no previous one."""
        current, previous = self.current, self.previous
        if previous is None or not previous.usable:
            raise AgentError(f"There is no earlier version of {self.name} on this machine.")
        self._link("current", previous.record.digest)
        if current is not None:
            self._link("previous", current.record.digest)
        return previous

    def forget(self) -> None:
        """Stop using environments."""
        for name in ("current", "previous"):
            (self.path / name).unlink(missing_ok=True)
        sync_directory(self.path)

    def sweep(self, needed: str | None = None) -> bool:
        """Delete all environments but the current, the previous and the `needed` one, unless a process uses them.

        Return whether any was deleted.
        """
        retained = {
            needed,
            *(
                environment.record.digest
                for environment in (self.current, self.previous)
                if environment is not None
            ),
        }
        deleted = [delete_unused(path) for path in self._environments() if path.name not in retained]
        return any(deleted)

    def _environments(self) -> list[Path]:
        with suppress(OSError):
            return [
                Path(entry.path) for entry in os.scandir(self.path) if entry.is_dir(follow_symlinks=False)
            ]
        return []

    def _linked(self, name: str) -> EngineEnvironment | None:
        try:
            target = (self.path / name).readlink()
        except OSError:
            return None
        return read_environment(self.path / target.name)

    def _link(self, name: str, digest: str) -> None:
        temporary = self.path / f".{name}"
        temporary.unlink(missing_ok=True)
        # A relative link, so that the directory can be moved as a whole.
        temporary.symlink_to(digest)
        # Replaced, not removed and made again: a runner that starts in between always finds one of the two.
        temporary.replace(self.path / name)
        sync_directory(self.path)


def environments_in_use(engines_dir: Path) -> frozenset[Path]:
    """Return the current environments of all engines, complete or not."""
    in_use = set()
    with suppress(OSError):
        for entry in os.scandir(engines_dir):
            with suppress(OSError):
                in_use.add(Path(entry.path, Path(entry.path, "current").readlink()))
    return frozenset(in_use)


def read_environment(path: Path) -> EngineEnvironment | None:
    """Return the environment at `path` if it is complete."""
    try:
        document = json.loads((path / RECORD).read_bytes())
        return EngineEnvironment(path, EngineRecord(**{**document, "packages": tuple(document["packages"])}))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def delete_unused(path: Path) -> bool:
    """Delete an environment unless a process uses it. Return whether it was deleted."""
    with suppress(FileNotFoundError), (path / IN_USE).open("rb") as handle:
        if not try_lock(handle):
            return False
    # First, so that a partly deleted environment is never used.
    (path / RECORD).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()
