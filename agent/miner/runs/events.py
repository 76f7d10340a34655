"""Events of running jobs for their subscribers, batched into few messages however fast a runner emits them."""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import orjson
import structlog

from agent.miner.link.client import CoordinatorLink
from agent.miner.link.refusals import Unreachable
from agent.miner.runs.lease import Lease
from agent.miner.tasks import Background
from runners.host.protocol import plain_units

INTERVAL: Final = 0.1
"""Seconds between two messages about one job: people read tokens as they are generated."""
PROGRESS_INTERVAL: Final = 1.0
"""Seconds between two messages that contain the progress or lines of the log, which the coordinator stores."""
_MAX_EVENTS: Final = 512
_MAX_BYTES: Final = 2**20
_LIMIT_SECONDS: Final = 10.0
_KIND: Final = re.compile(r"[a-z_]{1,40}")
_log = structlog.get_logger(__name__)


class EventFeed:
    """The events of one job. Only subscribers need them, so when too many are waiting, the oldest are dropped."""

    def __init__(self, link: CoordinatorLink, lease: Lease, background: Background) -> None:
        self._background = background
        self._link = link
        self._job_id, self._fence = lease.key
        self._waiting: deque[tuple[int, dict[str, Any]]] = deque()
        self._size = 0
        self._progress: dict[str, Any] | None = None
        self._lines: list[dict[str, Any]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._sending = False
        self._closed = False
        self._sent_at = float("-inf")
        self._progressed_at = float("-inf")
        self._dropped = 0

    def progress(self, percent: float, units: Decimal) -> None:
        """Send this progress in place of any that has not been sent yet."""
        self._progress = {"progress": percent, "units": plain_units(units)}
        self._schedule()

    def log(self, lines: Sequence[dict[str, Any]]) -> None:
        """Send lines of the job's log. Those that do not arrive are in the log that is sent with the outcome."""
        self._lines += lines
        self._schedule()

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Send an event of the runner. Progress goes through `progress` instead."""
        if kind == "progress" or _KIND.fullmatch(kind) is None:
            self._dropped += 1
            return
        event = {"kind": kind, "data": dict(data)}
        size = len(orjson.dumps(event))
        if size > _MAX_BYTES:
            self._dropped += 1
            return
        self._waiting.append((size, event))
        self._size += size
        while self._size > _MAX_BYTES or len(self._waiting) > _MAX_EVENTS:
            self._size -= self._waiting.popleft()[0]
            self._dropped += 1
        self._schedule()

    def close(self) -> None:
        """Send the waiting events without waiting for that. The end of the job makes its progress obsolete, and brings its log."""
        self._progress = None
        self._lines.clear()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting and not self._sending:
            self._start()
        if self._dropped:
            _log.info("events_dropped", job_id=self._job_id, fence=self._fence, events=self._dropped)

    def _schedule(self) -> None:
        if self._sending or self._closed:
            return
        due = self._sent_at + INTERVAL if self._waiting else self._progressed_at + PROGRESS_INTERVAL
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        delay = max(0.0, due - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._start)

    def _start(self) -> None:
        self._timer = None
        self._sending = True
        self._background.spawn(self._send(), f"events-{self._job_id}")

    async def _send(self) -> None:
        events = [event for _, event in self._waiting]
        body: dict[str, Any] = {"fence": self._fence, "events": events}
        now = time.monotonic()
        if now >= self._progressed_at + PROGRESS_INTERVAL and (self._progress is not None or self._lines):
            if self._progress is not None:
                events.append({"kind": "progress", "data": self._progress})
            if self._lines:
                body["log"] = {"entries": self._lines}
            self._progress, self._lines, self._progressed_at = None, [], now
        self._waiting.clear()
        self._size, self._sent_at = 0, now
        try:
            # Neither if the timer was a moment early.
            if events or "log" in body:
                await self._link.call("events", self._job_id, body, limit=_LIMIT_SECONDS)
        except Unreachable:
            self._dropped += len(events)
        finally:
            self._sending = False
        if self._waiting and self._closed:
            self._start()
        elif self._waiting or self._lines or self._progress is not None:
            self._schedule()
