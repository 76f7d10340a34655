"""Run a program that ends when the standard input of this one closes, that is with the process that started it, also after `kill -9`.

    python bound.py USER COMMAND...

The program runs as USER, or with "" as this user. It and all that it starts get a process group of its own, and 20 s to end by themselves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

GRACE_SECONDS = 20


def main() -> int:
    """Run the command. Return its exit status, negative after a signal."""
    user, *command = sys.argv[1:]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, user=user or None, group=user or None
    )

    def end_with_parent() -> None:
        while os.read(0, 1024):
            pass
        for kind in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, kind)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)

    watcher = threading.Thread(target=end_with_parent, daemon=True)
    watcher.start()
    status = process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return status


if __name__ == "__main__":
    sys.exit(main())
