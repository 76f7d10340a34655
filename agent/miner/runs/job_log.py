"""The log of one run, for the job's client: sent while the run writes it, and whole with the outcome."""

from __future__ import annotations

import time
from typing import Any

from agent.core.job_log import Line, LogBuffer
from agent.miner.runs.events import EventFeed
from agent.miner.runs.lease import Lease
from runners.host.protocol import JobLog


class RunLog:
    """What one run has written, at most `limit` bytes: of a longer log, the beginning and the end.

    The lines go to the coordinator only, never to this machine's logs.
    """

    def __init__(self, lease: Lease, feed: EventFeed, limit: int) -> None:
        self._lease = lease
        self._feed = feed
        self._buffer = LogBuffer(limit)
        self._unsent = limit

    def add(self, message: JobLog) -> None:
        """Add lines, and send them, unless those that were sent have reached the limit."""
        ahead = self._lease.coordinator_time() - time.time()
        messages = []
        if message.dropped:
            self._buffer.truncated = True
        for part in message.lines:
            line = Line(max(0.0, part.time + ahead), part.source, part.text)
            self._buffer.add(line)
            self._unsent -= line.size
            if self._unsent >= 0:
                messages.append(_wire(line))
        if messages:
            self._feed.log(messages)

    def fields(self) -> dict[str, Any]:
        """Return the part of an outcome's body that contains the log; empty if nothing was written."""
        if not self._buffer:
            return {}
        lines = [_wire(line) for line in self._buffer.lines()]
        return {"log": {"entries": lines, "truncated": self._buffer.truncated}}


def _wire(line: Line) -> dict[str, Any]:
    return {"time": line.time, "source": line.source, "text": line.text}
