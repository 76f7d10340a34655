"""Leases that this miner does not understand, such as those of a coordinator of another version."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import structlog

from agent import __version__
from agent.miner.runs.outbox import Outbox
from agent.miner.runs.outbox_database import OutboxEntry
from agent.miner.tasks import Background
from agent.protocol.answers import HeldLease
from agent.protocol.messages import MAX_MESSAGE
from agent.protocol.reading import MalformedMessage, read
from runners.errors import FailureCode

_log = structlog.get_logger(__name__)


class MalformedLeases:
    """Answers each such lease with a failure, which counts as an attempt, and counts them for the owner."""

    def __init__(self, outbox: Outbox, background: Background) -> None:
        self._outbox = outbox
        self._background = background
        self._count = 0
        self._last: dict[str, Any] = {}

    def refuse(self, values: Mapping[str, Any], reason: str) -> None:
        """Answer a lease as the coordinator sent it. Without a job and a fence, no answer is possible."""
        _log.error("lease_malformed", error=reason)
        try:
            lease = read(HeldLease, values)
        except MalformedMessage:
            lease = None
        job_id = None if lease is None else lease.job_id
        self.note(job_id, reason)
        if lease is not None and (lease.job_id, lease.fence) not in self._outbox:
            self._background.spawn(self._answer(lease, reason), f"refuse-{job_id}")

    def note(self, job_id: str | None, reason: str) -> None:
        """Count a lease whose answer is on its way, for the owner."""
        self._count += 1
        self._last = {"at": time.time(), "job_id": job_id, "reason": reason}

    async def _answer(self, lease: HeldLease, reason: str) -> None:
        message = (
            f"The miner, version {__version__}, does not understand the lease ({reason}). "
            "Its agent may need an update."
        )
        body = {
            "fence": lease.fence,
            "kind": "retry",
            "code": FailureCode.LEASE_MALFORMED,
            "message": message[:MAX_MESSAGE],
        }
        try:
            await self._outbox.put(OutboxEntry(lease.job_id, lease.fence, "fail", body))
        except OSError as error:
            _log.error("outcome_not_stored", job_id=lease.job_id, fence=lease.fence, error=str(error))

    def status(self) -> dict[str, Any] | None:
        """Return their number, and time, job and reason of the last one; None if there were none."""
        return {"count": self._count, **self._last} if self._count else None
