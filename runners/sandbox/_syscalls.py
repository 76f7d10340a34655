"""System calls that Python's library does not provide."""

from __future__ import annotations

import ctypes
import os
from typing import Final

JOIN_SESSION_KEYRING: Final = 1
"""From `keyctl(2)`."""

_KEYCTL: Final = {"x86_64": 250, "aarch64": 219}
_libc = ctypes.CDLL(None, use_errno=True)


def syscall(number: int, *arguments: int | None) -> int:
    """Make a system call. Raises `OSError`."""
    # Passed as a Python integer, an argument would be cut to 32 bits.
    words = [ctypes.c_void_p(word) for word in arguments]
    result = _libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return int(result)


def fresh_session_keyring() -> None:
    """Give this thread, and the programs that it starts afterwards, their own empty session keyring.

    If the call is refused, as in most containers, the programs' filter refuses all keyring calls anyway.
    """
    number = _KEYCTL.get(os.uname().machine)
    if number is None:
        return
    try:
        syscall(number, JOIN_SESSION_KEYRING, None)
    except OSError:
        return
