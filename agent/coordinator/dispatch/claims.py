"""The transaction that claims waiting jobs for miners, and the one that releases leases that were not delivered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

import orjson

from agent.coordinator import hooks, lifecycle
from agent.coordinator.consequences import Change
from agent.coordinator.dispatch.fleet import FleetReader, with_pauses
from agent.coordinator.dispatch.reputations import Reputations
from agent.coordinator.hooks import View
from agent.coordinator.port import LeaseMessage
from agent.coordinator.store import checkpoints, jobs, queue, running
from agent.coordinator.store.checkpoints import Checkpoint
from agent.coordinator.store.database import Connection
from agent.coordinator.store.jobs import is_opaque
from agent.coordinator.store.running import RunningNumbers
from agent.core.assignment import match
from agent.core.feasibility import elsewhere
from agent.core.jobs import Claim, IllegalEvent, Job, Release
from agent.core.market.reductions import LOWEST_SHARE, reduced
from agent.core.matching import Candidate, Waiting
from agent.core.nonces import Secrets, cache_salt, lease_nonce
from agent.core.ranked_miners import RankedMiners
from agent.core.values.quantities import format_time, format_units, to_units
from agent.protocol.messages import MAX_LEASES
from agent.settings.coordinator import CoordinatorSettings

UNSUBMITTED_LEASES: Final = 16
"""Leases that a miner may hold beyond twice its capacity: finished jobs hold one until their results arrive."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A job claimed for a miner, and the lease as it is sent. `waited` is in seconds since the job was submitted."""

    job: Job
    candidate: Candidate
    message: LeaseMessage
    waited: float


@dataclass(frozen=True, slots=True)
class Earlier:
    """What earlier rounds have found, so that a round takes the time for what has changed since."""

    fleet: FleetReader = field(default_factory=FleetReader)
    reputations: Reputations = field(default_factory=Reputations)
    ranked: RankedMiners = field(default_factory=RankedMiners)


def claim(
    connection: Connection,
    candidates: Sequence[Candidate],
    now: float,
    settings: CoordinatorSettings,
    secrets: Secrets | None = None,
    earlier: Earlier | None = None,
) -> tuple[list[Assignment], bool]:
    """Claim jobs for the candidates. Return the assignments, and whether claimable jobs are left.

    With `secrets`, each lease has a nonce, and a salt if others may share what it computes (`agent.core.nonces`). `earlier` is
    what the rounds before have found.
    """
    waiting = queue.waiting(connection, candidates)
    if not waiting:
        return [], False
    earlier = earlier or Earlier()
    candidates = earlier.reputations.added(connection, waiting, candidates, now)
    waiting = _avoiding(connection, waiting, candidates, now, settings, earlier.fleet)
    restraints = hooks.restraints(connection, settings, now)
    if restraints.pauses:
        candidates = _without_paused(candidates, restraints.pauses)
    earlier.ranked.update(candidates)
    limits = {name: limit.jobs for name, limit in restraints.accounts.items()}
    numbers = running.numbers(connection, sorted({job.account_id for job in waiting}))
    pairs = _matched(connection, waiting, earlier.ranked, numbers, now, limits)
    if not pairs:
        return [], True
    read = {job.job_id: job for job in waiting}
    chosen = len(pairs)
    # Only now, for the few jobs that are given away: locking all that wait would stop their clients' calls.
    records = jobs.lock_claimable(connection, [job_id for job_id, _ in pairs])
    # Without those that have been cancelled, bound or claimed since they were read.
    pairs = [pair for pair in pairs if _is_unchanged(records.get(pair[0]), read[pair[0]])]
    if not pairs:
        return [], True
    checkpoints_by_job = checkpoints.of_jobs(
        connection, [job_id for job_id, record in records.items() if record.life.fence]
    )
    claims = []
    for job_id, candidate in pairs:
        record = records[job_id]
        event = Claim(candidate.miner_id, candidate.session, now, settings.lease_seconds)
        claims.append((record, event, _unit_price(record, candidate)))
    described = {}
    # Where all accounts share prompt caches, nobody needs to know whose a run continues.
    if not settings.share_prompt_caches:
        described = hooks.describe_jobs(connection, [record for record, _, _ in claims], View.LEASE)
    assignments = [
        Assignment(
            job,
            candidate,
            lease_message(
                record,
                job,
                unit_price,
                checkpoints_by_job.get(job.job_id, ()),
                secrets,
                described[job.job_id].get("caches", record.account_id) if described else "",
            ),
            now - record.created_at,
        )
        for job, (_, candidate), (record, _, unit_price) in zip(
            lifecycle.claim(connection, claims, now), pairs, claims, strict=True
        )
    ]
    # True also if another transaction had taken a job: its miner is still free.
    return assignments, len(waiting) > chosen or chosen > len(pairs)


def _is_unchanged(record: jobs.JobRecord | None, waiting: Waiting) -> bool:
    return record is not None and record.requested_miner_id == waiting.miner_id


def _avoiding(
    connection: Connection,
    waiting: Sequence[Waiting],
    candidates: Sequence[Candidate],
    now: float,
    settings: CoordinatorSettings,
    fleet: FleetReader,
) -> list[Waiting]:
    """Mark the miners that do not get a job because it failed there and another miner could run it, even if that one is busy."""
    retried = [job.job_id for job in waiting if job.failed_on]
    # Most rounds have none, and reading the runs of all waiting jobs takes long.
    if not retried:
        return list(waiting)
    failed = queue.failed_on(connection, retried)
    free = {candidate.miner_id for candidate in candidates}
    marked = []
    for job in waiting:
        failed_on = job.failed_on | failed.get(job.job_id, frozenset())
        # A job that only this miner can run is given to it again, rather than to nobody.
        if failed_on & free and elsewhere(job, fleet.miners(connection, settings, now), failed_on, now):
            marked.append(replace(job, avoided=failed_on))
        else:
            marked.append(job)
    return marked


def _unit_price(record: jobs.JobRecord, candidate: Candidate) -> int:
    """Return the price on which client and miner have agreed, or else the miner's current one, as far as it is reduced for the job."""
    if record.agreed_price is not None:
        return record.agreed_price
    offer = candidate.services[record.service]
    return reduced(to_units(offer.unit_price), record.price_ppm, offer.features.get(LOWEST_SHARE))


def _without_paused(
    candidates: Sequence[Candidate], pauses: Mapping[tuple[str, str], float]
) -> list[Candidate]:
    """Leave out the miners that the coordinator pauses, and mark the services that it pauses."""
    concerned = {miner_id for miner_id, _ in pauses}
    return [
        with_pauses(candidate, pauses) if candidate.miner_id in concerned else candidate
        for candidate in candidates
        if (candidate.miner_id, hooks.WHOLE) not in pauses
    ]


def _matched(
    connection: Connection,
    waiting: Sequence[Waiting],
    candidates: RankedMiners,
    numbers: RunningNumbers,
    now: float,
    limits: Mapping[str, int],
) -> list[tuple[str, Candidate]]:
    """Match jobs with miners, each of which holds at most as many leases as it can run and submit at a time, even if it announces more capacity.

    The leases of a miner are counted when it has been chosen, and the matching is repeated if it has too many.
    """
    remaining: dict[str, int] = {}
    while True:
        pairs = match(waiting, candidates, numbers.by_account, now, limits, remaining)
        chosen = {
            candidate.miner_id: candidate for _, candidate in pairs if candidate.miner_id not in remaining
        }
        lease_counts = numbers.by_miner
        if lease_counts is None:
            lease_counts = running.leases_of(connection, sorted(chosen))
        for miner_id, candidate in chosen.items():
            allowed = min(2 * candidate.capacity + UNSUBMITTED_LEASES, MAX_LEASES)
            remaining[miner_id] = allowed - lease_counts.get(miner_id, 0)
        matches = Counter(candidate.miner_id for _, candidate in pairs)
        if all(matches[miner_id] <= remaining[miner_id] for miner_id in chosen):
            return pairs


def lease_message(
    record: jobs.JobRecord,
    job: Job,
    unit_price: int,
    job_checkpoints: Sequence[Checkpoint],
    secrets: Secrets | None = None,
    whose: str = "",
) -> LeaseMessage:
    """Return a lease as docs/reference/miner-protocol.md shows it, at a price in units of 1e-8, with checkpoints of earlier runs.

    Leases of services that are salted have the same salt if they have the same `whose` (`agent.core.nonces.cache_salt`).
    """
    lease = job.lease
    if lease is None:
        raise ValueError(f"job {job.job_id} has no lease")
    spec = orjson.loads(record.spec)
    drawn = {}
    if secrets is not None:
        drawn["nonce"] = lease_nonce(secrets.key, job.job_id, lease.fence)
        if record.service in secrets.salted and not is_opaque(spec):
            drawn["cache_salt"] = cache_salt(secrets.key, lease.miner_id, whose, lease.assigned_at)
    return {
        **drawn,
        "job_id": job.job_id,
        "fence": lease.fence,
        "attempt": job.attempts,
        "service": record.service,
        "spec_digest": record.spec_digest,
        "unit_price": format_units(unit_price),
        "max_cost": format_units(record.max_cost),
        "assigned_at": format_time(lease.assigned_at),
        "lease_expires_at": format_time(lease.expires_at),
        "deadline": format_time(lease.deadline),
        "spec": spec,
        "checkpoints": [checkpoints.on_the_wire(checkpoint) for checkpoint in job_checkpoints],
        "trace_id": record.trace_id,
    }


def release_undelivered(connection: Connection, leases: Sequence[tuple[str, str, int]], now: float) -> None:
    """Release leases that were not delivered, unless they have ended. Each is its miner's id, its job's id and its fence."""
    records = jobs.lock_many(connection, [job_id for _, job_id, _ in leases])
    changes = []
    for miner_id, job_id, fence in leases:
        if (record := records.get(job_id)) is not None:
            with suppress(IllegalEvent):
                changes.append(Change.by(record, Release(miner_id, fence, now)))
    lifecycle.save(connection, changes, now)
