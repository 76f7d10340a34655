"""Brings waiting miners and claimable jobs together.

A connected miner is a `Port` with room for some leases. Whenever a job becomes claimable or a port gets room, one
transaction claims jobs for all ports at once, and each lease is pushed to its miner. A lease that cannot be delivered is
released again, without costing an attempt.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

import orjson
import structlog

from agent.coordinator import lifecycle
from agent.coordinator.metrics import CLAIMED, PICKUP_SECONDS
from agent.coordinator.store import checkpoints as checkpoint_store
from agent.coordinator.store import habits as habit_store
from agent.coordinator.store import jobs as job_store
from agent.coordinator.store import queue
from agent.coordinator.store.checkpoints import Checkpoint
from agent.coordinator.store.sqlite.database import Connection, Database
from agent.core.errors import ApiError, StaleSession
from agent.core.jobs import Claim, Job, Release
from agent.core.market.habits import CLIENT_FAILURES_HALF_LIFE_SECONDS
from agent.core.matching import Batch, Candidate, FreeCapacity, ServiceOffer, match
from agent.core.values.quantities import format_money, format_time, from_units, parse_money, to_units
from agent.metrics import Meter
from agent.protocol.messages import MAX_LEASES

log = structlog.get_logger()

UNHEARD_LIMIT: Final = 256
ON_THE_WAY: Final = 16
DEFER_SECONDS: Final = 0.1

LeaseMessage = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tolerated:
    """How many failures an account may cause before it gets only `slowed_jobs` jobs at the same time."""

    client_failures: float = 30.0
    slowed_jobs: int = 1


@dataclass(frozen=True, slots=True)
class Assignment:
    """A lease that has been given: to whom, and what goes over the wire."""

    job: Job
    candidate: Candidate
    message: LeaseMessage
    waited: float
    """Seconds since the job was submitted."""


class Port:
    """One connection of a miner that can take leases.

    `deliver` sends a lease and returns whether it could; `cancelled` tells the miner that a lease is void; `heartbeat` that
    commands wait for it; `close` ends the connection, with the reason that its session is not valid any more.
    """

    def __init__(
        self,
        miner_id: str,
        session: int,
        *,
        deliver: Callable[[LeaseMessage], bool],
        cancelled: Callable[[str, int], None],
        heartbeat: Callable[[], None],
        close: Callable[[ApiError], None],
        capabilities: Mapping[str, Any],
    ) -> None:
        self.miner_id = miner_id
        self.session = session
        self.deliver = deliver
        self.cancelled = cancelled
        self.heartbeat = heartbeat
        self.close = close
        self.capabilities = capabilities
        self.free = FreeCapacity(0, {}, {})
        self._sent = 0
        self._on_the_way: deque[tuple[int, Batch]] = deque()

    def set_free(self, slots: int, batch_capacity: Mapping[Batch, int], received: int) -> None:
        """Set the free capacity as of the moment when `received` leases had arrived, less the leases still on their way."""
        while self._on_the_way and self._on_the_way[0][0] <= received:
            self._on_the_way.popleft()
        offers = self.capabilities["services"].items()
        self.free = FreeCapacity(
            slots, batch_capacity, {service: offer["concurrency"] for service, offer in offers}
        )
        for _, (service, model) in self._on_the_way:
            self.free.reserve(service, model)

    def give(self, lease: LeaseMessage) -> bool:
        """Deliver a lease. Return False if the port has no free capacity left or the connection accepts no more."""
        batch = (lease["service"], lease["spec"]["model"])
        if not self.free.reserve(*batch) or not self.deliver(lease):
            return False
        self._sent += 1
        self._on_the_way.append((self._sent, batch))
        return True

    def candidate(self) -> Candidate:
        """What the matching needs to know."""
        free = self.free
        return candidate_of(
            self.miner_id, self.session, free.slots, self.capabilities, dict(free.batch_capacity)
        )


def candidate_of(
    miner_id: str,
    session: int,
    slots: int,
    capabilities: Mapping[str, Any],
    batch_capacity: Mapping[Batch, int] | None = None,
) -> Candidate:
    """A miner as the matching sees it, from its capabilities on the wire."""
    services = {
        service: ServiceOffer(
            unit_price=parse_money(offer["unit_price"]),
            models=frozenset(offer["models"]),
            loaded=frozenset(offer["loaded"]),
            downloadable=offer["downloadable"],
            unavailable_models=frozenset(offer["unavailable_models"]),
            concurrency=offer["concurrency"],
        )
        for service, offer in capabilities["services"].items()
    }
    return Candidate(
        miner_id=miner_id,
        session=session,
        slots=slots,
        services=services,
        cpu_cores=Decimal(capabilities["cpu_cores"]),
        memory=capabilities["memory"],
        gpus=len(capabilities["gpus"]),
        capacity=capabilities["slots"] * max((offer.concurrency for offer in services.values()), default=1),
        batch_capacity=batch_capacity or {},
    )


class Dispatcher:
    """Gives jobs to ports. `run` is the loop; everything else is quick and called from the same event loop."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float],
        *,
        lease_seconds: float,
        meter: Meter,
        tolerated: Tolerated = Tolerated(),
    ) -> None:
        self._database = database
        self._meter = meter
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._tolerated = tolerated
        self._ports: dict[str, Port] = {}
        # Older connections of the same session, e.g. a WebSocket beside a long poll: they serve again when the newer one ends.
        self._covered: dict[str, list[Port]] = {}
        self._wake = asyncio.Event()
        self._pending = True
        self._unheard: dict[str, list[tuple[str, int]]] = {}
        self._expected: set[str] = set()
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
        """Add a port. A miner has one: a newer one takes the place of the older, unless its session is the older one."""
        present = self._ports.get(port.miner_id)
        if present is not None and present.session > port.session:
            port.close(StaleSession("A newer session of this miner has begun."))
            return
        if present is not None and present.session == port.session:
            self._covered.setdefault(port.miner_id, []).append(present)
        self._ports[port.miner_id] = port
        for job_id, fence in self._unheard.pop(port.miner_id, ()):
            port.cancelled(job_id, fence)
        if port.miner_id in self._expected:
            self._expected.discard(port.miner_id)
            port.heartbeat()
        if port.free:
            self.capacity_freed()

    def detach(self, port: Port) -> None:
        """Remove a port. The one whose place it had taken serves again if it is still connected."""
        covered = self._covered.get(port.miner_id, [])
        if port in covered:
            covered.remove(port)
        elif self._ports.get(port.miner_id) is port:
            del self._ports[port.miner_id]
            if covered:
                self._ports[port.miner_id] = covered.pop()
                self.capacity_freed()
        if not covered:
            self._covered.pop(port.miner_id, None)

    def end_connections(self, miner_id: str, why: ApiError) -> None:
        """End the connections of a miner's session, which is not valid any more."""
        current = self._ports.pop(miner_id, None)
        for port in (current, *self._covered.pop(miner_id, ())):
            if port is not None:
                port.close(why)

    def connected(self, miner_id: str) -> Port | None:
        """The miner's port, or None."""
        return self._ports.get(miner_id)

    def job_waiting(self) -> None:
        """A job has become claimable."""
        self._pending = True
        self._wake.set()

    def capacity_freed(self) -> None:
        """A port has room for more."""
        self._capacity_changed = True
        if self._pending:
            self._wake.set()

    def cancel(self, miner_id: str, job_id: str, fence: int) -> None:
        """Tell a miner that a lease is void: now, or when it connects the next time (its heartbeat says it too)."""
        port = self._ports.get(miner_id)
        if port is not None:
            port.cancelled(job_id, fence)
            return
        unheard = self._unheard.setdefault(miner_id, [])
        unheard.append((job_id, fence))
        del unheard[:-UNHEARD_LIMIT]

    def ask_for_heartbeat(self, miner_id: str) -> None:
        """Have a miner send a heartbeat at once, whose answer has its commands: now, or when it connects the next time."""
        port = self._ports.get(miner_id)
        if port is not None:
            port.heartbeat()
        else:
            self._expected.add(miner_id)

    async def run(self) -> None:
        """Match jobs and ports until cancelled."""
        self._running = True
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                try:
                    await self._round()
                except Exception:  # one bad round must not end the dispatching for good
                    log.exception("dispatch_failed")
                    await asyncio.sleep(DEFER_SECONDS)
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
        assignments, left = await self._database.write(
            claim, candidates, self._clock(), self._lease_seconds, self._tolerated
        )
        self._pending = self._pending or left
        if self._pending and self._capacity_changed:  # room that came while the claim was under way
            self._wake.set()
        if not assignments:
            return
        lost = [item for item in assignments if not self._deliver(ports, item)]
        if lost:
            await self._database.write(release_undelivered, lost, self._clock())
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


def claim(
    connection: Connection,
    candidates: Sequence[Candidate],
    now: float,
    lease_seconds: float,
    tolerated: Tolerated = Tolerated(),
) -> tuple[list[Assignment], bool]:
    """Claim jobs for the candidates. Also says whether jobs are left that could be claimed."""
    waiting = queue.waiting(connection, candidates)
    if not waiting:
        return [], False
    pausing = habit_store.pausing(connection, now)
    roomy = _within_capacity(
        [candidate for candidate in candidates if candidate.miner_id not in pausing],
        job_store.running_by_miner(connection),
    )
    limits = _slowed(connection, tolerated, now)
    pairs = match(waiting, roomy, job_store.running_by_account(connection), now, limits)
    if not pairs:
        return [], True
    records = job_store.find_many(connection, [job_id for job_id, _ in pairs])
    checkpoints = checkpoint_store.of_jobs(
        connection, [job_id for job_id, record in records.items() if record.life.fence]
    )
    claims = []
    for job_id, candidate in pairs:
        record = records[job_id]
        event = Claim(candidate.miner_id, candidate.session, now, lease_seconds)
        claims.append((record, event, _unit_price(record, candidate)))
    assignments = [
        Assignment(
            job,
            candidate,
            lease_message(record, job, unit_price, checkpoints.get(job.job_id, ())),
            now - record.created_at,
        )
        for job, (_, candidate), (record, _, unit_price) in zip(
            lifecycle.claim(connection, claims, now), pairs, claims, strict=True
        )
    ]
    return assignments, len(waiting) > len(pairs)


def _slowed(connection: Connection, tolerated: Tolerated, now: float) -> dict[str, int]:
    """How many jobs accounts may have running whose jobs fail by their own fault too often."""
    many = habit_store.many_failures(connection, tolerated.client_failures)
    half_life = CLIENT_FAILURES_HALF_LIFE_SECONDS
    return {
        account_id: tolerated.slowed_jobs
        for account_id, tally in many.items()
        if tally.now(now, half_life) > tolerated.client_failures
    }


def _unit_price(record: job_store.JobRecord, candidate: Candidate) -> int:
    """What was agreed on with an offer, else what the miner asks now."""
    if record.agreed_price is not None:
        return record.agreed_price
    return to_units(candidate.services[record.service].unit_price)


def _within_capacity(candidates: Sequence[Candidate], running: Mapping[str, int]) -> list[Candidate]:
    """No miner holds many more leases than it can run at the same time, whatever room it announces.

    Some more it may: finished work whose result is still on its way holds a lease too.
    """
    return [
        replace(
            candidate,
            limit=min(2 * candidate.capacity + ON_THE_WAY, MAX_LEASES) - running.get(candidate.miner_id, 0),
        )
        for candidate in candidates
    ]


def lease_message(
    record: job_store.JobRecord, job: Job, unit_price: int, checkpoints: Sequence[Checkpoint]
) -> LeaseMessage:
    """A lease as docs/reference/miner-protocol.md shows it, at a price in units of 1e-8, with the checkpoints of earlier runs."""
    lease = job.lease
    if lease is None:
        raise ValueError(f"job {job.job_id} has no lease")
    return {
        "job_id": job.job_id,
        "fence": lease.fence,
        "attempt": job.attempts,
        "service": record.service,
        "spec_digest": record.spec_digest,
        "unit_price": format_money(from_units(unit_price)),
        "max_cost": format_money(from_units(record.max_cost)),
        "assigned_at": format_time(lease.assigned_at),
        "lease_expires_at": format_time(lease.expires_at),
        "deadline": format_time(lease.deadline),
        "spec": orjson.loads(record.spec),
        "checkpoints": [checkpoint_store.on_the_wire(checkpoint) for checkpoint in checkpoints],
        "trace_id": record.trace_id,
    }


def release_undelivered(connection: Connection, assignments: Sequence[Assignment], now: float) -> None:
    """Take back leases that no miner has heard of."""
    for assignment in assignments:
        record = job_store.find(connection, assignment.job.job_id)
        lease = assignment.job.lease
        if record is None or lease is None or record.life.lease != lease:
            continue
        lifecycle.change(connection, record, Release(lease.miner_id, lease.fence, now), now)
