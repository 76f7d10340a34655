"""Separate users for sandboxed programs of an agent that is root: each run gets an id of its own.

Untrusted code must never be uid 0, which the kernel trusts in places that check no capability. The ids come from the settings
`runners.sandbox_first_user` and `sandbox_users`. A run reserves its id with a locked file in `DIRECTORY`, which all agents of the
machine share. The file lists the directories that the run lent to that user, so that the next run with this id can restore
their owners after an agent was killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import random
import stat
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import psutil

from runners.api import FailureCode, Retry
from runners.sandbox.processes import end_all

DIRECTORY: Final = Path("/run/aitbc-sandbox")
"""The directory of reserved ids, on a file system that is empty after a restart of the machine."""

SWEEP_SECONDS: Final = 2.0
"""Time limit for killed processes to end."""

NOBODY: Final = 65534
"""The user of probes, which need no id of their own."""

SEARCH: Final = 1
"""The right to search a directory, as a bit of its mode and of its access control list."""

_ACL: Final = "system.posix_acl_access"
_ACL_VERSION: Final = 2
_USER, _GROUP, _NAMED_GROUP, _MASK, _OTHER = 0x01, 0x04, 0x08, 0x10, 0x20
_NO_ID: Final = 0xFFFFFFFF

Loan = tuple[Path, int, int]
"""A lent directory, and its original user and group."""


@dataclass(frozen=True, slots=True)
class User:
    """The user and group id of one run.

    `search` is the group that only sandboxed programs have, and `cards` the one that may open the device files of the run's cards, if any.
    """

    id: int
    search: int
    cards: int | None = None

    @property
    def groups(self) -> tuple[int, ...]:
        """Its supplementary groups."""
        return (self.search,) if self.cards is None else (self.search, self.cards)

    def end_processes(self) -> None:
        """Kill all processes of this user. A process cannot change its user, so none escapes."""
        end_all(lambda: _processes(self.id), SWEEP_SECONDS)


@contextmanager
def own_user(
    first: int, count: int, readable: Sequence[Path], writable: Sequence[Path]
) -> Iterator[User | None]:
    """Provide a user for one run with access to these paths; None if the agent is not root.

    Afterwards its files belong to the agent; its processes must have ended by then. Raises `Retry` if no id is free.
    """
    if os.geteuid() != 0:
        yield None
        return
    user, record = _hold(first, count)
    with record:
        loans = _lend(user, readable, writable, record)
        try:
            yield user
        finally:
            _restore(loans)
            record.truncate(0)


def admit(user: User, paths: Sequence[Path]) -> None:
    """Let the sandbox's group search the directories above these paths, for sandboxes that use the machine's own paths.

    The entry in a directory's access control list remains; it grants only the right to search, and only to this
    group. Raises `Retry` if the file system has no access control lists.
    """
    for directory in {parent for path in paths for parent in path.parents}:
        if not directory.stat().st_mode & SEARCH:
            _let_through(directory, user.search)


def _hold(first: int, count: int) -> tuple[User, IO[str]]:
    """Reserve an unused id, and restore the owners of directories that an earlier run lent to it."""
    try:
        DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise Retry(
            f"The directory {DIRECTORY} for the users of sandboxed programs cannot be created ({error.strerror}); make it writable for root."
        ) from None
    # From the same beginning, every run would first try the ids that others hold.
    start = random.randrange(1, count)  # noqa: S311 - spreads the ids; not a secret
    for offset in range(count - 1):
        number = first + 1 + (start + offset) % (count - 1)
        record = (DIRECTORY / str(number)).open("a+", encoding="utf-8")
        try:
            # The kernel releases the lock with the process, however it ends.
            fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            record.close()
            continue
        record.seek(0)
        lent = json.loads(record.read() or "[]")
        user = User(number, first)
        # A recorded loan is a run that was killed. An id without one may still be a person's or another program's.
        if lent:
            user.end_processes()
        elif _named(number) or _has_processes(number):
            record.close()
            continue
        _restore([(Path(path), owner, group) for path, owner, group in lent])
        return user, record
    raise Retry(
        f"All {count} users of the sandbox are in use; raise runners.sandbox_users, or select other ids with "
        "runners.sandbox_first_user.",
        code=FailureCode.SANDBOX_UNAVAILABLE,
    )


def _named(number: int) -> bool:
    try:
        pwd.getpwuid(number)
    except KeyError:
        return False
    return True


def _has_processes(number: int) -> bool:
    """Return whether any process belongs to this user, by the owners of /proc, which is quick."""
    for pid in psutil.pids():
        with suppress(OSError):
            if Path(f"/proc/{pid}").stat().st_uid == number:
                return True
    return False


def _processes(number: int) -> list[int]:
    """Return the running processes of a user."""
    pids = []
    for pid in psutil.pids():
        with suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
            ids = status.partition("\nUid:\t")[2].split("\n", 1)[0].split()
            # A zombie cannot be killed again; its parent reaps it.
            if str(number) in ids and "\nState:\tZ" not in status:
                pids.append(pid)
    return pids


def _lend(user: User, readable: Sequence[Path], writable: Sequence[Path], record: IO[str]) -> list[Loan]:
    """Give writable directories to the user, and let the sandbox's group read files that only the agent can read.

    The latter is permanent, because concurrent runs may read the same files.
    """
    # Recorded before anything changes, so that the next run with this id can undo it after a crash.
    loans: list[Loan] = [(path, os.getuid(), os.getgid()) for path in writable]
    record.truncate(0)
    record.write(json.dumps([(str(path), owner, group) for path, owner, group in loans]))
    record.flush()
    try:
        for path in readable:
            if not _is_open(path, user.search):
                _own(path, -1, user.search)
                _run("chmod", "-R", "g+rX", "--", str(path))
        for path in writable:
            _own(path, user.id, user.id)
            # bubblewrap enters it before the program becomes the user. The directories above exclude other users.
            path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IRWXU | stat.S_IXOTH)
    except (OSError, subprocess.CalledProcessError) as error:
        _restore(loans)
        raise Retry(
            f"The files of a run could not be given to the user of its sandbox ({error}); use a file system with owners.",
            code=FailureCode.SANDBOX_UNAVAILABLE,
        ) from None
    return loans


def _is_open(path: Path, group: int) -> bool:
    """Return whether everyone or the group may read it. A directory's own mode decides for its whole content."""
    status = path.stat()
    needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else 0)
    mode = status.st_mode | (status.st_mode >> 3 if status.st_gid == group else 0)
    return mode & needed == needed


def _restore(loans: Sequence[Loan]) -> None:
    for path, owner, group in loans:
        with suppress(FileNotFoundError):
            _own(path, owner, group)


def _own(path: Path, user: int, group: int) -> None:
    """Change the owner of a file, or of a directory tree of any depth. Follows no links."""
    os.chown(path, user, group, follow_symlinks=False)
    if path.is_symlink() or not path.is_dir() or not any(path.iterdir()):
        return
    owner = f":{group}" if user < 0 else f"{user}:{group}"
    _run("chown", "-RhP", "--", owner, str(path))


def _run(*command: str) -> None:
    """Run one of the system's programs, which support trees of any depth."""
    subprocess.run(command, check=True, capture_output=True, env={"PATH": os.defpath})  # noqa: S603 - fixed commands


def _let_through(directory: Path, group: int) -> None:
    """Add `group:GROUP:--x` to the directory's access control list."""
    entries = _entries(directory)
    # A later chmod of the directory disables the entry through the mask, but leaves the entry.
    open_masks = [rights for tag, rights, _ in entries if tag == _MASK and rights & SEARCH]
    if open_masks and (_NAMED_GROUP, SEARCH, group) in entries:
        return
    unchanged = [
        entry for entry in entries if entry[0] != _MASK and (entry[0], entry[2]) != (_NAMED_GROUP, group)
    ]
    mask = SEARCH
    for tag, rights, _ in entries:
        if tag == _MASK or (tag == _GROUP and not any(entry[0] == _MASK for entry in entries)):
            mask |= rights
    changed = sorted(
        [*unchanged, (_NAMED_GROUP, SEARCH, group), (_MASK, mask, _NO_ID)],
        key=lambda entry: (entry[0], entry[2]),
    )
    packed = struct.pack("<I", _ACL_VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in changed)
    try:
        os.setxattr(directory, _ACL, packed)
    except OSError as error:
        raise Retry(
            f"Sandboxed programs run as separate users, which cannot pass through {directory} ({error.strerror}); "
            f"run: chmod o+x {directory}",
            code=FailureCode.SANDBOX_UNAVAILABLE,
        ) from None


def _entries(directory: Path) -> list[tuple[int, int, int]]:
    """Return a directory's access control list as (kind, rights, id), derived from its mode if it has none."""
    try:
        packed = os.getxattr(directory, _ACL)
    except OSError:
        mode = directory.stat().st_mode
        return [(_USER, mode >> 6 & 7, _NO_ID), (_GROUP, mode >> 3 & 7, _NO_ID), (_OTHER, mode & 7, _NO_ID)]
    return [struct.unpack_from("<HHI", packed, offset) for offset in range(4, len(packed), 8)]
