"""Which parts of a process still make progress.

Parts report when they have done something, and say within what time they will again. Whoever keeps the process alive asks
what is overdue. So a process whose timer still beats while its work hangs is told from one that works.
"""

from __future__ import annotations


class Liveness:
    """What the parts have reported. `now` is always the same clock's seconds, one that only rises."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._ended: dict[str, str] = {}

    def report(self, part: str, now: float, within: float) -> None:
        """A part has made progress, and will again within so many seconds."""
        self._due[part] = now + within

    def leave(self, part: str) -> None:
        """A part has ended in order: nothing is expected of it any more."""
        self._due.pop(part, None)

    def fail(self, part: str, reason: str) -> None:
        """A part has ended that never should. That does not heal."""
        self._ended[part] = reason

    def overdue(self, now: float) -> dict[str, str]:
        """The parts that make no progress, and why that is thought, in words; none while all is well."""
        late = {
            part: f"no progress; it was due {now - due:.0f} s ago"
            for part, due in self._due.items()
            if due < now
        }
        return {**late, **self._ended}
