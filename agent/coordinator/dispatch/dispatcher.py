"""Matches waiting jobs with miners that have free capacity.

Whenever a job becomes claimable or capacity becomes free, one transaction claims jobs for all ports at once, and each lease is
pushed to its miner. A lease that cannot be delivered is released, which costs the job no attempt. Of several replicas, one does this,
for the miners of all (`relay`).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import structlog

from agent.coordinator.cluster import Alone, Cluster
from agent.coordinator.dispatch.claims import Assignment, Earlier, claim, release_undelivered
from agent.coordinator.metrics import CLAIMED, PICKUP_SECONDS
from agent.coordinator.port import LeaseMessage, Port
from agent.coordinator.store.database import Database
from agent.core.errors import ApiError, StaleSession
from agent.core.matching import Batch
from agent.core.nonces import Secrets
from agent.metrics import Meter
from agent.settings.coordinator import CoordinatorSettings

log = structlog.get_logger()

CANCELLATIONS_LIMIT: Final = 256
"""Cancellations that are stored for a miner that is not connected; the oldest are dropped beyond it."""
RETRY_SECONDS: Final = 0.1
"""Wait after a round that failed."""
JOBS: Final = "jobs"
"""The signal to the leader that jobs have become claimable."""


class Dispatcher:
    """Gives jobs to ports. `run` is the loop; all other methods return immediately and are called from the same event loop."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        database: Database,
        clock: Callable[[], float],
        meter: Meter,
        cluster: Cluster | None = None,
        secrets: Secrets | None = None,
    ) -> None:
        self._secrets = secrets
        self._cluster = cluster or Alone()
        self._settings = settings
        self._database = database
        self._clock = clock
        self._meter = meter
        self._ports: dict[str, Port] = {}
        self._earlier = Earlier()
        # Older connections of the same session, e.g. a WebSocket beside a long poll. One serves again when the newer one ends.
        self._superseded: dict[str, list[Port]] = {}
        self._wake = asyncio.Event()
        self._pending = True
        self._cancellations: dict[str, list[tuple[str, int]]] = {}
        self._heartbeats_due: set[str] = set()
        self._running = False
        self._capacity_changed = False
        self._releasing: set[asyncio.Task[None]] = set()
        self._relay = self._cluster.relay(self)
        self._cluster.bus.on_signal(JOBS, self._job_waiting)

    @property
    def alive(self) -> bool:
        """Whether the loop runs, or that of another replica does."""
        return self._running or not self._cluster.leadership.leads

    @property
    def miners(self) -> int:
        """How many miners are connected, to all replicas together."""
        return len(self._ports)

    def attach(self, port: Port) -> None:
        """Add a port. It replaces the miner's current port, unless that one belongs to a newer session."""
        self._relay.attached(port)
        self.attach_remote(port)

    def attach_remote(self, port: Port) -> None:
        """Add the port of another replica."""
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
        self._relay.detached(port)
        self.detach_remote(port)

    def set_free(self, port: Port, slots: int, batch_capacity: Mapping[Batch, int], received: int) -> None:
        """Set the free capacity that a port's miner has reported (`Port.set_free`), and claim jobs for it."""
        port.set_free(slots, batch_capacity, received)
        self._relay.changed(port)
        if port.free:
            self.capacity_freed()

    def replace_capabilities(self, miner_id: str, session: int, capabilities: Mapping[str, Any]) -> None:
        """Replace the capabilities of a miner's session on all its connections."""
        for port in self._connections(miner_id):
            if port.session == session:
                port.capabilities = capabilities
        self._relay.replace_capabilities(miner_id, session, capabilities)
        if miner_id in self._ports:
            self.job_waiting()

    def detach_remote(self, port: Port) -> None:
        """Remove the port of another replica."""
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

    def end_connections(self, miner_id: str, why: ApiError, newer_session: int = sys.maxsize) -> None:
        """Close all connections of a miner, whose sessions before this number have become invalid."""
        self._relay.end(miner_id, newer_session, why)
        ports = self._connections(miner_id)
        self._ports.pop(miner_id, None)
        self._superseded.pop(miner_id, None)
        for port in ports:
            port.close(why)

    def _connections(self, miner_id: str) -> list[Port]:
        port = self._ports.get(miner_id)
        return [*([] if port is None else [port]), *self._superseded.get(miner_id, ())]

    def connected(self, miner_id: str) -> Port | None:
        """Return the miner's port, or None."""
        return self._ports.get(miner_id)

    def job_waiting(self) -> None:
        """Have the leader claim jobs soon, because one has become claimable."""
        self._job_waiting()
        if not self._cluster.leadership.leads:
            self._cluster.bus.signal(JOBS)

    def _job_waiting(self) -> None:
        self._pending = True
        self._wake.set()

    @contextmanager
    def adding(self, *, claimable: bool = True) -> Iterator[None]:
        """Claim jobs soon, because the write that is awaited inside makes one claimable, if `claimable`.

        SQLite runs writes in the order in which they are queued. So a claim that is requested before this write finds its job, and usually shares
        its commit: the job starts one wait for the disk earlier. No other write may be awaited inside.
        """
        in_order = not self._database.concurrent
        if claimable and in_order:
            self.job_waiting()
        yield
        if claimable and not in_order:
            self.job_waiting()

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
        # A miner that never returns must not use up memory; a heartbeat reports what was dropped here.
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
        # A round that was cancelled may still use the former one in its transaction.
        self._earlier = Earlier()
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                try:
                    await self._round()
                except Exception:  # the loop survives a round that fails
                    # What the failed round found may be half of the truth, so the next one begins with nothing.
                    log.exception("dispatch_failed")
                    self._earlier = Earlier()
                    await asyncio.sleep(RETRY_SECONDS)
                    self._pending = True
                    self._wake.set()
        finally:
            self._running = False

    def undelivered(self, miner_id: str, lease: LeaseMessage) -> None:
        """Release a lease that the leader sent for a miner of this replica, which cannot deliver it."""

        async def release() -> None:
            job_id, fence = lease["job_id"], lease["fence"]
            try:
                await self._database.write(release_undelivered, [(miner_id, job_id, fence)], self._clock())
            except ApiError:
                # The miner's next heartbeat, which does not name the lease, releases it.
                log.warning("lease_not_released", job_id=job_id, miner_id=miner_id)
            self.job_waiting()

        task = asyncio.create_task(release(), name="release-undelivered")
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    async def _round(self) -> None:
        ports = {port.miner_id: port for port in self._ports.values() if port.free}
        if not ports:
            return
        candidates = [port.candidate() for port in ports.values()]
        # Cleared before the claim, so that a job which arrives meanwhile starts another round.
        self._pending = self._capacity_changed = False
        assignments, jobs_remain = await self._database.write(
            claim,
            candidates,
            self._clock(),
            self._settings,
            self._secrets,
            self._earlier,
        )
        self._pending = self._pending or jobs_remain
        # The claim has left jobs because of capacity that became free while it was under way.
        if self._pending and self._capacity_changed:
            self._wake.set()
        if not assignments:
            return
        undelivered = [
            (item.candidate.miner_id, item.job.job_id, item.message["fence"])
            for item in assignments
            if not self._deliver(ports, item)
        ]
        if undelivered:
            await self._database.write(release_undelivered, undelivered, self._clock())
            self._pending = True
        if self._pending and any(port.free for port in self._ports.values()):
            self._wake.set()

    def _deliver(self, ports: Mapping[str, Port], assignment: Assignment) -> bool:
        port = self._ports.get(assignment.candidate.miner_id)
        # The connection may have ended or begun again while the claim was committed.
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
        # A retry has waited for its first run too, which says nothing about the queue.
        if assignment.job.attempts == 1:
            self._meter.observe(PICKUP_SECONDS, assignment.waited, service)
        return True
