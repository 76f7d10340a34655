"""Directory trees of untrusted programs: measured while the program runs, removed afterwards.

Such a tree may be deeper than the longest path, unreadable, sparse, full of links, and changing. All functions work
relative to an open directory, follow no links, and use neither recursion nor long paths.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

MAX_FILES = 20_000
"""Default number of entries of a measured tree."""

MAX_DEPTH = 100
"""Default levels of directories in a measured tree, each of which takes two descriptors. Real packages and archives have
fewer than 30."""

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_UNREADABLE = frozenset({errno.EACCES, errno.EPERM})


class TreeExceeded(Exception):
    """A tree is too large or cannot be measured. The message is the reason, as the end of a sentence."""


def measure(directories: Iterable[Path], *, size: int, files: int, depth: int = MAX_DEPTH) -> int:
    """Return the total bytes of the directories.

    A file counts once, with its apparent size or its blocks, whichever is larger: a sparse file is uploaded with its holes.
    Raises `TreeExceeded` for more than `size` bytes, more than `files` entries, more than
    `depth` levels, and for a directory that this process may not read.
    """
    total = 0
    linked: set[tuple[int, int]] = set()
    statuses = itertools.chain.from_iterable(_below(directory, depth) for directory in directories)
    for count, status in enumerate(statuses, 1):
        key = (status.st_dev, status.st_ino)
        if not stat.S_ISDIR(status.st_mode) and key not in linked:
            # `st_blocks` counts 512 bytes on file systems of all block sizes; see `stat(2)`.
            total += max(status.st_size, status.st_blocks * 512)
            # Only files with several names can occur again, so the set stays small.
            if status.st_nlink > 1:
                linked.add(key)
        if total > size:
            raise TreeExceeded(f"more than {_readable(size)} of files")
        if count > files:
            raise TreeExceeded(f"more than {files:,} files and directories")
    return total


def _below(directory: Path, depth: int) -> Iterator[os.stat_result]:
    """Yield the status of each entry below a directory, depth first, with its parent directories open."""
    levels: list[_Level] = []
    _enter(levels, os.fspath(directory), None, depth)
    try:
        while levels:
            name = levels[-1].next_name()
            if name is None:
                levels.pop().close()
                continue
            descriptor = levels[-1].descriptor
            try:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except OSError as error:
                _accept(error)
                continue
            yield status
            if stat.S_ISDIR(status.st_mode):
                _enter(levels, name, descriptor, depth)
    finally:
        for level in levels:
            level.close()


class _Level:
    """An open directory and the position of reading it."""

    def __init__(self, name: str, parent: int | None) -> None:
        self.descriptor = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
        self._entries = os.scandir(self.descriptor)

    def next_name(self) -> str | None:
        entry = next(self._entries, None)
        return None if entry is None else entry.name

    def close(self) -> None:
        self._entries.close()
        os.close(self.descriptor)


def _enter(levels: list[_Level], name: str, parent: int | None, depth: int) -> None:
    if len(levels) > depth:
        raise TreeExceeded(f"directories nested more than {depth} deep")
    try:
        levels.append(_Level(name, parent))
    except OSError as error:
        _accept(error)


def _accept(error: OSError) -> None:
    """Ignore an entry that was just deleted; raise for one that cannot be measured."""
    if error.errno in _UNREADABLE:
        raise TreeExceeded("a directory that cannot be read") from None
    if error.errno not in _VANISHED:
        raise error


def remove(path: Path) -> None:
    """Remove a file or a tree of any depth, regardless of the modes of its directories. Ignores a missing path.

    Continues after an entry that cannot be removed, and raises the first `OSError` at the end.
    """
    errors: list[OSError] = []
    try:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        with _collected(errors):
            if not _is_directory(path.name, parent):
                os.unlink(path.name, dir_fd=parent)
                return
            with _opened(path.name, parent) as top:
                _empty(top, errors)
            os.rmdir(path.name, dir_fd=parent)
    finally:
        os.close(parent)
    if errors:
        raise errors[0]


@contextmanager
def _collected(errors: list[OSError]) -> Iterator[None]:
    """Collect the error of an entry that cannot be removed; one that is missing is none."""
    try:
        yield
    except FileNotFoundError:
        return
    except OSError as error:
        errors.append(error)


def _empty(top: int, errors: list[OSError]) -> None:
    """Remove everything in the directory `top`.

    Each directory is first moved to the top, so that depth needs neither descriptors nor stack.
    """
    prefix = f".removing-{os.urandom(8).hex()}"
    # Random, so that a program cannot have put a file with one of these names there.
    fresh_names = (f"{prefix}-{number}" for number in itertools.count())
    pending = _remove_files(top, errors)
    while pending:
        name = pending.pop()
        with _collected(errors):
            with _opened(name, top) as descriptor:
                for inner in _remove_files(descriptor, errors):
                    fresh = next(fresh_names)
                    with _collected(errors):
                        os.rename(inner, fresh, src_dir_fd=descriptor, dst_dir_fd=top)
                        pending.append(fresh)
            os.rmdir(name, dir_fd=top)


def _remove_files(descriptor: int, errors: list[OSError]) -> list[str]:
    """Remove the entries of a directory that are not directories. Make the directories writable and return their names."""
    directories: list[str] = []
    with os.scandir(descriptor) as entries:
        # Read to the end first, since deleting while reading may skip entries.
        names = [entry.name for entry in entries]
    for name in names:
        with _collected(errors):
            if _is_directory(name, descriptor):
                _make_accessible(name, descriptor)
                directories.append(name)
            else:
                os.unlink(name, dir_fd=descriptor)
    return directories


def _is_directory(name: str, parent: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


@contextmanager
def _opened(name: str, parent: int) -> Iterator[int]:
    _make_accessible(name, parent)
    descriptor = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _make_accessible(name: str, parent: int) -> None:
    """Give the owner all rights to a directory, which moving it also requires."""
    descriptor = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if os.fstat(descriptor).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.chmod(f"/proc/self/fd/{descriptor}", stat.S_IRWXU)  # noqa: PTH101 - the only way to one opened by O_PATH
    finally:
        os.close(descriptor)


def _readable(size: int) -> str:
    for unit, power in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= power:
            return f"{size / power:.4g} {unit}"
    return f"{size} bytes"
