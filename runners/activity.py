"""Reports that a run works while it cannot say how far it is: as long as its program uses the processor.

Otherwise a client could choose an input that takes minutes without a sign of progress, and the machine would appear hung. A program that
hangs uses no processor time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from runners.api import Context, Device

POLL_SECONDS: Final = 5.0
WORKED_SECONDS: Final = 0.5
"""Processor time by which an engine works. A process whose threads all wait takes hours to use so much."""


@contextmanager
def working(context: Context, device: Device, poll_seconds: float = POLL_SECONDS) -> Iterator[None]:
    """Repeat the last progress of a run as long as this process, in which its engine computes, uses the processor.

    Not on a GPU, for which an engine may wait busily although it hangs.
    """
    if device.kind != "cpu":
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        last = time.process_time()
        while not ended.wait(poll_seconds):
            # Waiting threads use a little too, so not just any amount counts.
            if (now := time.process_time()) - last >= WORKED_SECONDS:
                last = now
                context.progress(None)

    watcher = threading.Thread(target=watch, name="activity", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def sandbox_activity(context: Context) -> Callable[[float], None]:
    """Return an `on_tick` for `Sandbox.run` that repeats the last progress of a run whenever its program has used the processor."""
    last = 0.0

    def on_tick(cpu_seconds: float) -> None:
        nonlocal last
        if cpu_seconds > last:
            context.progress(None)
        last = cpu_seconds

    return on_tick
