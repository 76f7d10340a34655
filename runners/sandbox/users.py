"""Users of their own for sandboxed programs, where the agent is root: each run gets an id that nothing else has.

Strangers' code must never be uid 0, which the kernel trusts in places that look at no capability. The ids are the settings
`runners.sandbox_first_user` and `sandbox_users`. A run holds its id by a locked file in `DIRECTORY`, which all agents of the
machine share and in which it writes down what it lent to that user, so that the next run with this id first takes back
what a killed agent left behind.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import random
import signal
import stat
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from runners.api import FailureCode, Retry

DIRECTORY: Final = Path("/run/aitbc-sandbox")
"""Where ids are held, on a file system that is empty after a restart of the machine."""

SWEEP_SECONDS: Final = 2.0
"""Time that killed processes have to disappear."""

NOBODY: Final = 65534
"""The user of trials, which need nothing of their own."""

SEARCH: Final = 1
"""The right to pass through a directory, as a bit of its mode and in its access control list."""

_ACL: Final = "system.posix_acl_access"
_ACL_VERSION: Final = 2
_USER, _GROUP, _NAMED_GROUP, _MASK, _OTHER = 0x01, 0x04, 0x08, 0x10, 0x20
_NO_ID: Final = 0xFFFFFFFF

Loan = tuple[Path, int, int]
"""A directory that was lent, and the user and group that get it back."""


@dataclass(frozen=True, slots=True)
class User:
    """An id for one run, as user and as group. `search` is a group that all sandboxed programs have, and nothing else."""

    id: int
    search: int

    def end_processes(self) -> None:
        """Kill whatever still runs as this user. A process cannot leave its user, so none escapes."""
        end = time.monotonic() + SWEEP_SECONDS
        while (found := _processes(self.id)) and time.monotonic() < end:
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.001)


@contextmanager
def own_user(
    first: int, count: int, readable: Sequence[Path], writable: Sequence[Path]
) -> Iterator[User | None]:
    """A user for one run who can read and write these paths; None where the agent is not root.

    Afterwards what it wrote belongs to the agent; none of its processes may be left by then. Raises `Retry` if no id is free.
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
            _take_back(loans)
            record.truncate(0)


def admit(user: User, paths: Sequence[Path]) -> None:
    """Let the sandbox's group pass through the directories above these paths, for where the paths remain the machine's.

    The entry in a directory's access control list remains; it gives nothing to any other user, and to this group no
    more than a way through. Raises `Retry` where the file system has no such lists.
    """
    for directory in {parent for path in paths for parent in path.parents}:
        if not directory.stat().st_mode & SEARCH:
            _let_through(directory, user.search)


def _hold(first: int, count: int) -> tuple[User, IO[str]]:
    """Take an id that nobody has, and what an earlier run left to it back."""
    try:
        DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise Retry(
            f"The ids of sandboxed programs are held in {DIRECTORY}, which cannot be made ({error.strerror})."
        ) from None
    start = random.randrange(1, count)  # noqa: S311 - spreads the ids, no secret
    for offset in range(count - 1):
        number = first + 1 + (start + offset) % (count - 1)
        record = (DIRECTORY / str(number)).open("a+", encoding="utf-8")
        try:
            fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            record.close()
            continue
        record.seek(0)
        left = json.loads(record.read() or "[]")
        user = User(number, first)
        if left:
            user.end_processes()
        elif _named(number) or _has_processes(number):
            record.close()
            continue
        _take_back([(Path(path), owner, group) for path, owner, group in left])
        return user, record
    raise Retry(
        f"All {count} users of the sandbox are in use; raise runners.sandbox_users, or choose other ids with "
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
    """Whether something runs as this user, by the owners of /proc, which is quick. What hides from it is no program of ours."""
    with os.scandir("/proc") as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.name.isdecimal() and entry.stat().st_uid == number:
                    return True
    return False


def _processes(number: int) -> list[int]:
    """The processes of a user that have not ended."""
    found = []
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdecimal():
                with suppress(OSError):
                    status = Path(entry.path, "status").read_text(encoding="utf-8", errors="replace")
                    ids = status.partition("\nUid:\t")[2].split("\n", 1)[0].split()
                    if str(number) in ids and "\nState:\tZ" not in status:
                        found.append(int(entry.name))
    return found


def _lend(user: User, readable: Sequence[Path], writable: Sequence[Path], record: IO[str]) -> list[Loan]:
    """Give writable directories to the user, and let the sandbox's group read what only the agent can.

    The latter stays so, because runs at the same time may read the same.
    """
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
            # Bubblewrap goes to it before the program becomes the user. What lies above keeps others out.
            path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IRWXU | stat.S_IXOTH)
    except (OSError, subprocess.CalledProcessError) as error:
        _take_back(loans)
        raise Retry(
            f"The files of a run could not be lent to the user of its sandbox ({error}); use a file system with owners.",
            code=FailureCode.SANDBOX_UNAVAILABLE,
        ) from None
    return loans


def _is_open(path: Path, group: int) -> bool:
    """Whether all or the group may read it. Of a directory its own mode says so for all that it holds."""
    status = path.stat()
    needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else 0)
    mode = status.st_mode | (status.st_mode >> 3 if status.st_gid == group else 0)
    return mode & needed == needed


def _take_back(loans: Sequence[Loan]) -> None:
    for path, owner, group in loans:
        with suppress(FileNotFoundError):
            _own(path, owner, group)


def _own(path: Path, user: int, group: int) -> None:
    """Change the owner of a file, or of a directory and all that it holds, however deep. Follows no link."""
    os.chown(path, user, group, follow_symlinks=False)
    if path.is_symlink() or not path.is_dir() or not any(path.iterdir()):
        return
    owner = f":{group}" if user < 0 else f"{user}:{group}"
    _run("chown", "-RhP", "--", owner, str(path))


def _run(*command: str) -> None:
    """Run one of the system's own programs, which walk trees of any depth."""
    subprocess.run(command, check=True, capture_output=True, env={"PATH": os.defpath})  # noqa: S603 - fixed commands


def _let_through(directory: Path, group: int) -> None:
    """Add `group:GROUP:--x` to the directory's access control list."""
    entries = _entries(directory)
    # A later chmod of the directory takes the entry's effect away by the mask, and leaves the entry.
    open_masks = [rights for tag, rights, _ in entries if tag == _MASK and rights & SEARCH]
    if open_masks and (_NAMED_GROUP, SEARCH, group) in entries:
        return
    others = [
        entry for entry in entries if entry[0] != _MASK and (entry[0], entry[2]) != (_NAMED_GROUP, group)
    ]
    mask = SEARCH
    for tag, rights, _ in entries:
        if tag == _MASK or (tag == _GROUP and not any(entry[0] == _MASK for entry in entries)):
            mask |= rights
    wanted = sorted(
        [*others, (_NAMED_GROUP, SEARCH, group), (_MASK, mask, _NO_ID)],
        key=lambda entry: (entry[0], entry[2]),
    )
    packed = struct.pack("<I", _ACL_VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in wanted)
    try:
        os.setxattr(directory, _ACL, packed)
    except OSError as error:
        raise Retry(
            f"Sandboxed programs run as users of their own, who cannot pass through {directory} ({error.strerror}). Let them: "
            f"chmod o+x {directory}",
            code=FailureCode.SANDBOX_UNAVAILABLE,
        ) from None


def _entries(directory: Path) -> list[tuple[int, int, int]]:
    """A directory's access control list: (kind, rights, id), made from its mode where it has none."""
    try:
        packed = os.getxattr(directory, _ACL)
    except OSError:
        mode = directory.stat().st_mode
        return [(_USER, mode >> 6 & 7, _NO_ID), (_GROUP, mode >> 3 & 7, _NO_ID), (_OTHER, mode & 7, _NO_ID)]
    return [struct.unpack_from("<HHI", packed, offset) for offset in range(4, len(packed), 8)]
