"""Locks of files, which the kernel releases when their process ends."""

from __future__ import annotations

import fcntl
from typing import IO


def try_lock(file: IO[bytes], kind: int = fcntl.LOCK_EX) -> bool:
    """Lock an open file if no other program has locked it, and return whether it did. `kind` may be `fcntl.LOCK_SH`.

    Raises `OSError` if the file system has no locks.
    """
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
