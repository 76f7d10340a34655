"""The limited number of encodings that an NVIDIA driver runs at the same time, shared by all runners of this machine."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final

from runners.api import Context, Fail, FailureCode, Tools

_DIRECTORY: Final = "nvenc-sessions"
_POLL: Final = 0.2


@contextmanager
def session(tools: Tools, context: Context, *, wait: bool) -> Iterator[bool]:
    """Hold one of the `Tools.nvenc_sessions`. Yield False if none is free, or wait for one.

    Raises `Cancelled`, and `Fail` if none is free before the job's deadline.
    """
    directory = tools.cache_dir / _DIRECTORY
    directory.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + context.timeout_seconds
    with ExitStack() as stack:
        while (lock := _free(directory, tools.nvenc_sessions)) is None and wait:
            context.check()
            # Without progress, the miner would take the waiting run for a hung one.
            context.progress(0.0)
            if time.monotonic() > end:
                raise Fail(
                    "The job took longer than its timeout_seconds, because all of the card's encoders are in use; raise timeout_seconds "
                    "or allow software encoders.",
                    code=FailureCode.TIMEOUT,
                )
            time.sleep(_POLL)
        if lock is not None:
            stack.enter_context(lock)
        yield lock is not None


def _free(directory: Path, count: int) -> IO[str] | None:
    """Return the locked file of a free session."""
    for number in range(count):
        file = (directory / str(number)).open("w")
        try:
            # The kernel releases the lock even if the process is killed.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
        else:
            return file
    return None
