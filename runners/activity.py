"""Reports that a run works while it cannot say how far it is: as long as its program uses the processor.

Otherwise a client could choose an input that takes minutes without a sign of progress, and the machine would appear hung. A program that
hangs uses no processor time.
"""

from __future__ import annotations

from runners.api import Context


class Activity:
    """Repeats the last progress of a run whenever its sandboxed program has used the processor. `on_tick` is for `Sandbox.run`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._last_cpu = 0.0

    def on_tick(self, cpu_seconds: float) -> None:
        """Receive the CPU seconds that the program has used so far."""
        if cpu_seconds > self._last_cpu:
            self._context.progress(None)
        self._last_cpu = cpu_seconds
