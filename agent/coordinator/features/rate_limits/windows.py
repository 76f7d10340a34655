"""The windows in which calls are counted: in memory, and exchanged between replicas.

Each replica counts its own calls at once and reports them to the others every `SHARE_SECONDS`. A caller that uses several replicas at a time
can therefore exceed a budget by what the other replicas accept in one such interval, or more if a report is lost.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Annotated, Final

from limits.aio.storage import Storage
from pydantic import Field

from agent.coordinator.cluster import Bus

SHARE_SECONDS: Final = 0.25

_Calls = tuple[
    Annotated[str, Field(max_length=1000)],
    Annotated[int, Field(ge=1)],
    Annotated[float, Field(gt=0, allow_inf_nan=False)],
]
"""Whose calls, how many, and the seconds until their window ends."""


class WindowStorage(Storage):
    """Counters of fixed windows in memory, for at most `limit` callers; `clock` returns seconds from any starting point. No window of other replicas is longer than `longest` seconds.

    The library's own storage scans all its counters on every call (5 ms for 50,000), and has no limit.
    """

    STORAGE_SCHEME = None

    def __init__(
        self, limit: int, clock: Callable[[], float], bus: Bus | None = None, longest: float = math.inf
    ) -> None:
        super().__init__()
        self._bus = bus or Bus()
        self._bus.handle("calls", self._counted, list[_Calls])
        self._longest = longest
        # Calls that the other replicas do not know of yet.
        self._unshared: Counter[str] = Counter()
        self._limit = limit
        self._clock = clock
        # In the order in which their windows began, so that the oldest are first.
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """No exceptions, since memory does not fail."""
        return ()

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count a call, in a new window if the last one has ended."""
        window = self._begun(key, expiry)
        window.count += amount
        if self._bus.peers:
            if not self._unshared:
                asyncio.get_running_loop().call_later(SHARE_SECONDS, self._share)
            self._unshared[key] += amount
        return window.count

    def _share(self) -> None:
        now = self._clock()
        calls = [
            [key, amount, window.ends_at - now]
            for key, amount in self._unshared.items()
            if (window := self._current(key)) is not None
        ]
        self._unshared.clear()
        self._bus.send("calls", calls)

    def _counted(self, _: str, calls: list[tuple[str, int, float]]) -> None:
        """Count calls of other replicas, each in the window that began first here, which is never longer than the longest one."""
        for key, amount, seconds in calls:
            self._begun(key, min(seconds, self._longest)).count += amount

    async def get(self, key: str) -> int:
        """Return the count of the current window."""
        window = self._current(key)
        return 0 if window is None else window.count

    async def get_expiry(self, key: str) -> float:
        """Return the end of the current window by this storage's clock."""
        window = self._current(key)
        return self._clock() if window is None else window.ends_at

    async def check(self) -> bool:
        """Return that the storage is available."""
        return True

    async def reset(self) -> int:
        """Delete all counters."""
        count = len(self._windows)
        self._windows.clear()
        return count

    async def clear(self, key: str) -> None:
        """Delete one counter."""
        self._windows.pop(key, None)

    def _begun(self, key: str, seconds: float) -> _Window:
        window = self._current(key)
        if window is None:
            self._evict()
            self._windows.pop(key, None)
            window = self._windows[key] = _Window(self._clock() + seconds)
        return window

    def _current(self, key: str) -> _Window | None:
        window = self._windows.get(key)
        return window if window is not None and window.ends_at > self._clock() else None

    def _evict(self) -> None:
        """Delete up to two old windows for each new one, so that ended windows are removed without scanning them all."""
        for _ in range(2):
            oldest = next(iter(self._windows), None)
            if oldest is None or (len(self) < self._limit and self._current(oldest) is not None):
                return
            del self._windows[oldest]


class _Window:
    __slots__ = ("count", "ends_at")

    def __init__(self, ends_at: float) -> None:
        self.count = 0
        self.ends_at = ends_at
