"""Matches waiting jobs with miners that have free capacity.

Whenever a job becomes claimable or capacity becomes free, one transaction claims jobs for all ports at once, and each lease is
pushed to its miner. A lease that cannot be delivered is released, which costs the job no attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from agent.coordinator.dispatch.claims import Assignment, claim, release_undelivered
from agent.coordinator.dispatch.port import Port
from agent.coordinator.metrics import CLAIMED, PICKUP_SECONDS
from agent.coordinator.store.database import Database
from agent.core.errors import ApiError, StaleSession
from agent.metrics import Meter
from agent.settings import CoordinatorSettings

log = structlog.get_logger()

CANCELLATIONS_LIMIT: Final = 256
"""Cancellations that are stored for a miner that is not connected; the oldest are dropped beyond it."""
RETRY_SECONDS: Final = 0.1
"""Wait after a round that failed."""


class Dispatcher:
    """Gives jobs to ports. `run` is the loop; all other methods return at once and are called from the same event loop."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        database: Database,
        clock: Callable[[], float],
        meter: Meter,
    ) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._meter = meter
        self._ports: dict[str, Port] = {}
        # Older connections of the same session, e.g. a WebSocket beside a long poll. One serves again when the newer one ends.
        self._superseded: dict[str, list[Port]] = {}
        self._wake = asyncio.Event()
        self._pending = True
        self._cancellations: dict[str, list[tuple[str, int]]] = {}
        self._heartbeats_due: set[str] = set()
        self._running = False
        self._capacity_changed = False

    @property
    def alive(self) -> bool:
        """Whether the loop runs."""
        return self._running

    @property
    def miners(self) -> int:
        """How many miners are connected."""
        return len(self._ports)

    def attach(self, port: Port) -> None:
        """Add a port. It replaces the miner's current port, unless that one belongs to a newer session."""
        present = self._ports.get(port.miner_id)
        if present is not None and present.session > port.session:
            port.close(StaleSession("A newer session of this miner has begun."))
            return
        if present is not None and present.session == port.session:
            self._superseded.setdefault(port.miner_id, []).append(present)
        self._ports[port.miner_id] = port
        for job_id, fence in self._cancellations.pop(port.miner_id, ()):
            port.cancelled(job_id, fence)
        if port.miner_id in self._heartbeats_due:
            self._heartbeats_due.discard(port.miner_id)
            port.heartbeat()
        if port.free:
            self.capacity_freed()

    def detach(self, port: Port) -> None:
        """Remove a port. The port that it replaced serves again if it is still connected."""
        superseded = self._superseded.get(port.miner_id, [])
        if port in superseded:
            superseded.remove(port)
        elif self._ports.get(port.miner_id) is port:
            del self._ports[port.miner_id]
            if superseded:
                self._ports[port.miner_id] = superseded.pop()
                self.capacity_freed()
        if not superseded:
            self._superseded.pop(port.miner_id, None)

    def end_connections(self, miner_id: str, why: ApiError) -> None:
        """Close all connections of a miner whose session has become invalid."""
        current = self._ports.pop(miner_id, None)
        for port in (current, *self._superseded.pop(miner_id, ())):
            if port is not None:
                port.close(why)

    def connected(self, miner_id: str) -> Port | None:
        """Return the miner's port, or None."""
        return self._ports.get(miner_id)

    def job_waiting(self) -> None:
        """Claim jobs soon, because one has become claimable.

        The caller may also call this right before the write that makes the job claimable, if it does not await anything in
        between: writes run in the order in which they are queued, so the claim finds the job and usually shares its commit.
        """
        self._pending = True
        self._wake.set()

    def capacity_freed(self) -> None:
        """Claim jobs soon if any may be waiting, because capacity has become free."""
        self._capacity_changed = True
        if self._pending:
            self._wake.set()

    def cancel(self, miner_id: str, job_id: str, fence: int) -> None:
        """Notify a miner that a lease is void: now, or when it connects next. The answer to its heartbeat reports it too."""
        port = self._ports.get(miner_id)
        if port is not None:
            port.cancelled(job_id, fence)
            return
        cancellations = self._cancellations.setdefault(miner_id, [])
        cancellations.append((job_id, fence))
        del cancellations[:-CANCELLATIONS_LIMIT]

    def ask_for_heartbeat(self, miner_id: str) -> None:
        """Request a heartbeat from a miner, whose answer carries its commands: now, or when it connects next."""
        port = self._ports.get(miner_id)
        if port is not None:
            port.heartbeat()
        else:
            self._heartbeats_due.add(miner_id)

    async def run(self) -> None:
        """Match jobs and ports until cancelled."""
        self._running = True
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                try:
                    await self._round()
                except Exception:  # the loop survives a round that fails
                    log.exception("dispatch_failed")
                    await asyncio.sleep(RETRY_SECONDS)
                    self._pending = True
                    self._wake.set()
        finally:
            self._running = False

    async def _round(self) -> None:
        ports = {port.miner_id: port for port in self._ports.values() if port.free}
        if not ports:
            return
        candidates = [port.candidate() for port in ports.values()]
        # Cleared before the claim, so that a job which arrives meanwhile starts another round.
        self._pending = self._capacity_changed = False
        assignments, left = await self._database.write(claim, candidates, self._clock(), self._settings)
        self._pending = self._pending or left
        if self._pending and self._capacity_changed:  # capacity became free while the claim was under way
            self._wake.set()
        if not assignments:
            return
        undelivered = [item for item in assignments if not self._deliver(ports, item)]
        if undelivered:
            await self._database.write(release_undelivered, undelivered, self._clock())
            self._pending = True
        if self._pending and any(port.free for port in self._ports.values()):
            self._wake.set()

    def _deliver(self, ports: Mapping[str, Port], assignment: Assignment) -> bool:
        port = self._ports.get(assignment.candidate.miner_id)
        if port is None or port.session != assignment.candidate.session or port is not ports[port.miner_id]:
            return False
        if not port.give(assignment.message):
            return False
        service = assignment.message["service"]
        self._meter.count(CLAIMED, service)
        log.info(
            "lease_given",
            job_id=assignment.job.job_id,
            miner_id=assignment.candidate.miner_id,
            fence=assignment.message["fence"],
            trace_id=assignment.message["trace_id"],
        )
        if assignment.job.attempts == 1:
            self._meter.observe(PICKUP_SECONDS, assignment.waited, service)
        return True
