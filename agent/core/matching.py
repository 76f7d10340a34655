"""Which miner gets which job.

Jobs are taken by priority that grows with waiting time, so that nothing starves; equals share between clients; each job
goes to the best of the miners that can run it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

AGEING_SECONDS: Final = 60.0
"""Waiting so long raises a job by one priority level: a job of priority 0 passes fresh ones of priority 9 in 10 minutes."""


@dataclass(frozen=True, slots=True)
class ServiceOffer:
    """What a miner says of one of its services. `downloadable`: models that are not on disk can be fetched."""

    unit_price: Decimal
    models: frozenset[str] = frozenset()
    loaded: frozenset[str] = frozenset()
    downloadable: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A miner that waits for work: `slots` more jobs. Memory is bytes, `gpus` a count.

    `capacity` is how many jobs it says that it can run at the same time.
    """

    miner_id: str
    session: int
    slots: int
    services: Mapping[str, ServiceOffer]
    cpu_cores: Decimal = Decimal(1)
    memory: int = 0
    gpus: int = 0
    capacity: int = 256


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that waits for a miner. Times are seconds since the epoch, memory bytes."""

    job_id: str
    account_id: str
    service: str
    model: str | None
    priority: int
    submitted_at: float
    cpu: Decimal = Decimal(0)
    memory: int = 0
    gpus: int = 0
    miner_id: str | None = None
    avoid_miner_id: str | None = None
    avoid_until: float = 0.0


@dataclass(slots=True)
class _Room:
    """A candidate with what it has been given in this round."""

    candidate: Candidate
    free: int
    given: list[str] = field(default_factory=list)


def match(
    jobs: Iterable[Waiting], candidates: Sequence[Candidate], running: Mapping[str, int], now: float
) -> list[tuple[str, Candidate]]:
    """Pairs of job id and miner, best first. `running` counts the running jobs of each account.

    A job avoids the miner that failed it last as long as another one that fits is waiting.
    """
    rooms = [_Room(candidate, candidate.slots) for candidate in candidates if candidate.slots > 0]
    load = Counter(running)
    pairs: list[tuple[str, Candidate]] = []
    levels: dict[int, list[Waiting]] = {}
    for job in jobs:
        levels.setdefault(_level(job, now), []).append(job)
    for level in sorted(levels, reverse=True):
        queue = _by_account(levels[level])
        while queue and any(room.free for room in rooms):
            account = min(
                queue, key=lambda name: (load[name], queue[name][0].submitted_at, queue[name][0].job_id)
            )
            job = queue[account].pop(0)
            if not queue[account]:
                del queue[account]
            room = _best_room(job, rooms, now)
            if room is not None:
                room.free -= 1
                load[account] += 1
                pairs.append((job.job_id, room.candidate))
    return pairs


def _level(job: Waiting, now: float) -> int:
    return job.priority + int(max(0.0, now - job.submitted_at) / AGEING_SECONDS)


def _by_account(jobs: list[Waiting]) -> dict[str, list[Waiting]]:
    queue: dict[str, list[Waiting]] = {}
    for job in sorted(jobs, key=lambda job: (job.submitted_at, job.job_id)):
        queue.setdefault(job.account_id, []).append(job)
    return queue


def _best_room(job: Waiting, rooms: list[_Room], now: float) -> _Room | None:
    fitting = [room for room in rooms if room.free > 0 and fits(job, room.candidate, now)]
    if not fitting:
        return None
    return min(fitting, key=lambda room: _preference(job, room))


def _preference(job: Waiting, room: _Room) -> tuple[bool, int, Decimal, int, str]:
    offer = room.candidate.services[job.service]
    model = job.model
    distance = 0 if model is None or model in offer.loaded else 1 if model in offer.models else 2
    return (
        room.candidate.miner_id == job.avoid_miner_id,
        distance,
        offer.unit_price,
        -room.free,
        room.candidate.miner_id,
    )


def fits(job: Waiting, candidate: Candidate, now: float) -> bool:
    """Whether the miner can run the job at all: service, model, hardware, and the client's own choice of miner."""
    offer = candidate.services.get(job.service)
    if offer is None or job.miner_id not in (None, candidate.miner_id):
        return False
    if job.avoid_miner_id == candidate.miner_id and now < job.avoid_until:
        return False
    if job.model is not None and job.model not in offer.models and not offer.downloadable:
        return False
    return job.cpu <= candidate.cpu_cores and job.memory <= candidate.memory and job.gpus <= candidate.gpus
