"""The directory of models as several programs share it: who uses a model, when it was used last, what may be removed.

Beside the models' own directories there are hidden ones, all on one disk so that renaming is a single step:

* `.use/NAME`, a file whose lock is held shared while a model is used and alone while it is fetched or removed, by
  whatever process; the kernel lets go of it when the process dies. Its time of change is the last use.
* `.fetching-NAME`, what has arrived of a model so far, and `.removing-...`, what is on its way out.
* `NAME/.fetched.json`, which says that this program fetched the model and so may remove it to make room.
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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

import structlog

from agent.core.machine.model_cache import StoredModel

FETCHED_MARK: Final = ".fetched.json"
PLAN: Final = ".plan.json"
_FETCHING: Final = ".fetching-"
_REMOVING: Final = ".removing-"
_USE: Final = ".use"
_SPACE_LOCK: Final = ".room"
_ASK_AGAIN_SECONDS: Final = 0.1

_log = structlog.get_logger(__name__)


class ModelDirectory:
    """The directory `models_dir`. Methods block for as long as the disk takes, but never wait for other programs."""

    def __init__(self, models_dir: Path) -> None:
        self.models_dir = models_dir

    def partial(self, name: str) -> Path:
        """Where a model is gathered while it is fetched."""
        return self.models_dir / f"{_FETCHING}{name}"

    async def use(self, name: str, while_waiting: Callable[[], None]) -> IO[bytes]:
        """Wait until nobody fetches or removes the model, and keep it so until the result is closed.

        `while_waiting` is called a few times a second. The time is noted as that of the last use.
        """
        handle = await self._wait(name, fcntl.LOCK_SH, while_waiting)
        with suppress(OSError):  # a directory that only an administrator may write keeps no times
            os.utime(handle.fileno())
        return handle

    async def alone(self, name: str, while_waiting: Callable[[], None]) -> IO[bytes]:
        """Wait until nobody fetches, removes or uses the model, and keep it so until the result is closed."""
        return await self._wait(name, fcntl.LOCK_EX, while_waiting)

    async def _wait(self, name: str, kind: int, while_waiting: Callable[[], None]) -> IO[bytes]:
        while True:
            handle = self._open(name)
            if _lock(handle, kind):
                return handle
            while_waiting()
            await asyncio.sleep(_ASK_AGAIN_SECONDS)

    def in_use(self, name: str) -> bool:
        """Whether any program uses, fetches or removes the model."""
        if not (self.models_dir / _USE / name).exists():
            return False
        with self._open(name) as handle:
            return not _lock(handle, fcntl.LOCK_EX)

    def last_used(self, name: str) -> float | None:
        """When the model was used last, in seconds; None if it never was."""
        try:
            return (self.models_dir / _USE / name).stat().st_mtime
        except OSError:
            return None

    @contextmanager
    def space_lock(self) -> Iterator[None]:
        """One program at a time counts what is there and plans more. Held for moments only."""
        with self._open(_SPACE_LOCK) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def stored(self, pinned: Collection[str] = ()) -> list[StoredModel]:
        """Everything that lies here, parts of models included; these stand for all that they will become."""
        found = []
        for directory in _directories(self.models_dir):
            name = directory.name.removeprefix(_FETCHING)
            if name.startswith("."):
                continue
            is_part = directory.name.startswith(_FETCHING)
            in_use = self.in_use(name)
            size = size_of(directory)
            if is_part and in_use:
                size = max(size, planned_size(directory))
            stored = StoredModel(
                name=directory.name,
                size=size,
                last_used=self.last_used(name) or directory.stat().st_mtime,
                fetched=is_part or (directory / FETCHED_MARK).is_file(),
                in_use=in_use,
                pinned=name in pinned,
            )
            found.append(stored)
        return found

    def free(self) -> int:
        """Bytes that the disk has left, less those that models being fetched will still take."""
        promised = sum(
            max(0, planned_size(directory) - size_of(directory))
            for directory in _directories(self.models_dir)
            if directory.name.startswith(_FETCHING) and self.in_use(directory.name.removeprefix(_FETCHING))
        )
        return shutil.disk_usage(self.models_dir).free - promised

    def remove(self, stored_name: str) -> bool:
        """Remove a model or a part of one, by the name of its directory. False if somebody uses it."""
        with self._open(stored_name.removeprefix(_FETCHING)) as handle:
            if not _lock(handle, fcntl.LOCK_EX):
                return False
            directory = self.models_dir / stored_name
            if directory.exists():
                out = Path(tempfile.mkdtemp(prefix=_REMOVING, dir=self.models_dir))
                directory.rename(out / "model")  # so that never half a model has the name of a whole one
        for leftover in _directories(self.models_dir):
            if leftover.name.startswith(_REMOVING):
                shutil.rmtree(leftover, ignore_errors=True)
        return True

    def _open(self, name: str) -> IO[bytes]:
        path = self.models_dir / _USE / name
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("ab")
        # Nobody can fetch or remove anything in a directory that cannot be written, so any lock does.
        return path.open("rb") if path.is_file() else tempfile.TemporaryFile()


def mark_fetched(directory: Path, source: Mapping[str, Any]) -> None:
    """Write down that this program fetched what lies in `directory`, and from where."""
    (directory / FETCHED_MARK).write_text(json.dumps({**source, "fetched_at": time.time()}), encoding="utf-8")


def sync_directory(directory: Path) -> None:
    """Have a renaming in `directory` survive a loss of power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_plan(partial: Path, files: Sequence[Mapping[str, Any]], *, total: int | None) -> None:
    """Write down in one step which files a model will have, and how many bytes of the disk they will take in all."""
    temporary = partial / f"{PLAN}.new"
    temporary.write_text(json.dumps({"total": total, "files": files}), encoding="utf-8")
    temporary.replace(partial / PLAN)


def planned_size(partial: Path) -> int:
    """How large a model that is being fetched will be; 0 where that is not known."""
    try:
        return int(json.loads((partial / PLAN).read_bytes())["total"] or 0)
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def arrived(partial: Path) -> int:
    """Bytes of a model that is being fetched which are there."""
    with suppress(OSError):
        return size_of(partial) - (partial / PLAN).stat().st_size
    return size_of(partial)


def size_of(directory: Path) -> int:
    """Bytes of all files below a directory."""
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):  # it was removed a moment ago
                total += (Path(parent) / name).lstat().st_size
    return total


def _directories(directory: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _lock(handle: IO[bytes], kind: int) -> bool:
    """Take the lock if it is free; else close the handle. Raises `OSError` where the disk knows no locks."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return False
    return True
