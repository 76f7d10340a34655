"""The directory of models, which several programs share: which models are in use, when they were last used, which may be removed.

Next to the models' own directories there are hidden entries, all on one disk so that renaming is a single step:

* `.use/NAME`, a file that any process locks: shared while it uses the model, exclusively while it fetches or removes it.
  The kernel releases the lock when the process dies. The file's modification time is the last use.
* `.fetching-NAME`, the part of a model that has arrived so far, and `.removing-...`, a model that is being removed.
* `NAME/.fetched.json`, the mark that this program fetched the model and so may remove it to free space.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

import structlog

from agent.atomic_file import replace_file
from agent.file_lock import try_lock
from agent.miner.models.evictions import StoredModel

FETCHED_MARK: Final = ".fetched.json"
PLAN: Final = ".plan.json"
_FETCHING: Final = ".fetching-"
_REMOVING: Final = ".removing-"
_USE: Final = ".use"
_SPACE_LOCK: Final = ".space-lock"
_POLL_SECONDS: Final = 0.1

_log = structlog.get_logger(__name__)


class ModelDirectory:
    """The directory `models_dir`. Methods block for as long as the disk takes, but never wait for other programs."""

    def __init__(self, models_dir: Path) -> None:
        self.models_dir = models_dir

    def partial(self, name: str) -> Path:
        """Return the directory in which the files of a model arrive."""
        return self.models_dir / f"{_FETCHING}{name}"

    async def use(self, name: str, while_waiting: Callable[[], None]) -> IO[bytes]:
        """Lock the model against being fetched or removed, until the result is closed; record the use.

        `while_waiting` is called a few times a second.
        """
        handle = await self._wait(name, fcntl.LOCK_SH, while_waiting)
        # In a directory that only an administrator may write, no use is recorded.
        with suppress(OSError):
            os.utime(handle.fileno())
        return handle

    async def lock_exclusively(self, name: str, while_waiting: Callable[[], None]) -> IO[bytes]:
        """Lock the model against every other use, until the result is closed."""
        return await self._wait(name, fcntl.LOCK_EX, while_waiting)

    async def _wait(self, name: str, kind: int, while_waiting: Callable[[], None]) -> IO[bytes]:
        handle = self._open(name)
        with ExitStack() as stack:
            stack.callback(handle.close)
            while not try_lock(handle, kind):
                while_waiting()
                await asyncio.sleep(_POLL_SECONDS)
            stack.pop_all()
        return handle

    def in_use(self, name: str) -> bool:
        """Whether any program uses, fetches or removes the model."""
        if not (self.models_dir / _USE / name).exists():
            return False
        with self._open(name) as handle:
            # Only tried: the lock goes with the handle, before anybody else could notice it.
            return not try_lock(handle)

    def last_used(self, name: str) -> float | None:
        """Return when the model was last used, in seconds since the epoch; None if it was never used."""
        try:
            return (self.models_dir / _USE / name).stat().st_mtime
        except OSError:
            return None

    @contextmanager
    def space_lock(self) -> Iterator[None]:
        """Lock out other programs while free space is counted and allotted, which takes a moment."""
        with self._open(_SPACE_LOCK) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def stored(self, pinned: Collection[str] = ()) -> list[StoredModel]:
        """Return all models here. One that is being fetched counts with its full size."""
        stored_models = []
        for directory in _directories(self.models_dir):
            name = directory.name.removeprefix(_FETCHING)
            if name.startswith("."):
                continue
            is_part = directory.name.startswith(_FETCHING)
            in_use = self.in_use(name)
            size = size_of(directory)
            if is_part and in_use:
                # What is still to come has been promised to it, and nobody else may plan with that space.
                size = max(size, planned_size(directory))
            stored = StoredModel(
                name=directory.name,
                size=size,
                last_used=self.last_used(name) or directory.stat().st_mtime,
                fetched=is_part or (directory / FETCHED_MARK).is_file(),
                in_use=in_use,
                pinned=name in pinned,
            )
            stored_models.append(stored)
        return stored_models

    def free(self) -> int:
        """Return the free bytes of the disk, less those that models being fetched will still take."""
        promised = sum(
            max(0, planned_size(directory) - size_of(directory))
            for directory in _directories(self.models_dir)
            if directory.name.startswith(_FETCHING) and self.in_use(directory.name.removeprefix(_FETCHING))
        )
        return shutil.disk_usage(self.models_dir).free - promised

    def remove(self, stored_name: str) -> bool:
        """Remove a model or a part of one, by the name of its directory. Return False if it is in use."""
        with self._open(stored_name.removeprefix(_FETCHING)) as handle:
            if not try_lock(handle):
                return False
            directory = self.models_dir / stored_name
            if directory.exists():
                # On the same file system, where a rename takes no time. Deleting gigabytes under their name would take seconds.
                out = Path(tempfile.mkdtemp(prefix=_REMOVING, dir=self.models_dir))
                directory.rename(
                    out / "model"
                )  # so that an incomplete model never has the name of a complete one
        for leftover in _directories(self.models_dir):
            # Those of a program that was killed in the middle of it as well.
            if leftover.name.startswith(_REMOVING):
                shutil.rmtree(leftover, ignore_errors=True)
        return True

    def _open(self, name: str) -> IO[bytes]:
        path = self.models_dir / _USE / name
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("ab")
        # In a directory that cannot be written, no model can be fetched or removed, so any lock is enough.
        return path.open("rb") if path.is_file() else tempfile.TemporaryFile()


def mark_fetched(directory: Path, source: Mapping[str, Any]) -> None:
    """Record that this program fetched the model in `directory`, and from where."""
    (directory / FETCHED_MARK).write_text(json.dumps({**source, "fetched_at": time.time()}), encoding="utf-8")


def write_plan(partial: Path, files: Sequence[Mapping[str, Any]], *, total: int | None) -> None:
    """Record, atomically, which files a model will have and how many bytes they will take in total."""
    replace_file(partial / PLAN, json.dumps({"total": total, "files": files}).encode())


def planned_size(partial: Path) -> int:
    """Return the size of a model that is being fetched when it is complete; 0 if unknown."""
    try:
        return int(json.loads((partial / PLAN).read_bytes())["total"] or 0)
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def arrived(partial: Path) -> int:
    """Return the bytes that have arrived of a model that is being fetched."""
    with suppress(OSError):
        return size_of(partial) - (partial / PLAN).stat().st_size
    return size_of(partial)


def size_of(directory: Path, *, follow: bool = False) -> int:
    """Return the bytes of all files below a directory. To `follow` links counts the files that they name."""
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):  # it was removed a moment ago
                total += (Path(parent) / name).stat(follow_symlinks=follow).st_size
    return total


def _directories(directory: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
