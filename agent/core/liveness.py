"""Which parts of a process still make progress.

Each part reports its progress and the time within which it will report again; a watchdog asks which parts are overdue. This
distinguishes a process that works from one whose timers still run while its work hangs.
"""

from __future__ import annotations


class Liveness:
    """The reports of all parts. `now` is in seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._ended: dict[str, str] = {}

    def report(self, part: str, now: float, within: float) -> None:
        """Record that a part has made progress and will again within `within` seconds."""
        self._due[part] = now + within

    def leave(self, part: str) -> None:
        """Record that a part has ended normally and will report no more."""
        self._due.pop(part, None)

    def fail(self, part: str, reason: str) -> None:
        """Record that a part has ended that must never end. It stays overdue for good."""
        self._ended[part] = reason

    def overdue(self, now: float) -> dict[str, str]:
        """Return the parts that make no progress, each with a reason in words."""
        late = {
            part: f"no progress; it was due {now - due:.0f} s ago"
            for part, due in self._due.items()
            if due < now
        }
        return {**late, **self._ended}
